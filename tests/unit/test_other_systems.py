"""What Linux has and macOS has not: the relay does without it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_AS_ON_MACOS = """
import builtins, ctypes, os, runpy, socket, sys
from pathlib import Path

def hidden(library):
    class Without:
        def __getattr__(self, name):
            raise AttributeError(name)
    return Without()
ctypes.CDLL = hidden
if {without_resource}:
    sys.modules["resource"] = None
else:
    import resource
    def refuse(kind, limits):
        if limits[0] != 10240:
            raise ValueError("current limit exceeds maximum limit")
    resource.setrlimit = refuse
for name in ("sched_getaffinity", "posix_fadvise", "posix_fallocate", "copy_file_range", "memfd_create", "O_TMPFILE"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SO_BINDTODEVICE", "TCP_QUICKACK", "SOCK_NONBLOCK", "SOCK_CLOEXEC", "TCP_USER_TIMEOUT"):
    if hasattr(socket, name):
        delattr(socket, name)
opened = builtins.open
def no_proc(path, *more, **options):
    if str(path).startswith("/proc"):
        raise FileNotFoundError(2, "there is no /proc", str(path))
    return opened(path, *more, **options)
builtins.open = no_proc
sys.argv = ["image-relay", "serve"]
runpy.run_module("proxy", run_name="__main__")
"""


def _serves(folder: Path, *, without_resource: bool) -> bool:
    program = _AS_ON_MACOS.replace("{without_resource}", str(without_resource))
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PATH": os.defpath, "RELAY_DATA": str(folder), "RELAY_PORT": "0", "RELAY_STORE": "directory"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        said = []
        for line in process.stderr:
            said.append(line)
            if "image-relay serves" in line:
                process.terminate()
        print("".join(said))  # noqa: T201 - pytest shows it beside a failure
    return process.returncode == 0 and any("stopped" in line for line in said)


def test_it_serves_where_the_number_of_open_files_has_another_limit(tmp_path: Path) -> None:
    assert _serves(tmp_path, without_resource=False)


def test_it_serves_where_nothing_of_linux_is(tmp_path: Path) -> None:
    assert _serves(tmp_path, without_resource=True)
