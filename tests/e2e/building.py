"""Images that are built here from roots of Debian: the relay's own, and one in which jobs run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.bridged import Bridged
from tests.e2e.clients import run
from tests.machine import INSTALLS, TOOLS, missing, require

ROOT = Path(__file__).parents[2]
RELAY = "ghcr.io/owner/image-relay"  # as the action names it, with an owner
BASE = "relay-base"
JOB = "job-image"
_PATH = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def import_root(engine: Bridged, name: str, reference: str) -> str:
    """Make an image of a small root that tools/install-test-tools has made."""
    root = TOOLS / name
    if not (TOOLS / "done" / name).exists():
        missing(f"the root {root}", INSTALLS)
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as packing:
        assert packing.stdout
        engine.docker("import", "--change", _PATH, "-", reference, stdin=packing.stdout)
    return reference


def import_busybox(engine: Bridged, reference: str, folder: Path) -> None:
    """Make an image with a shell in it."""
    (folder / "root" / "bin").mkdir(parents=True)
    for name in ("busybox", "sh", "cat"):
        shutil.copy(require("busybox"), folder / "root" / "bin" / name)
    with subprocess.Popen(["tar", "-C", str(folder / "root"), "-c", "."], stdout=subprocess.PIPE) as packing:
        assert packing.stdout
        engine.docker("import", "--change", _PATH, "-", reference, stdin=packing.stdout)


def build_relay(engine: Bridged, folder: Path, reference: str) -> str:
    """Build the relay's image as a person without a network does, and give it this name."""
    base = import_root(engine, "base", BASE)
    context = folder / "context"
    shutil.copytree(ROOT, context, ignore=shutil.ignore_patterns(".venv", ".git", ".*_cache", ".hypothesis"))
    wheels = [str(ROOT / "tools" / "download-wheels"), str(context / "wheels"), str(TOOLS / "base")]
    run(wheels, {**engine.toolbox.env(), **_registry_settings()})
    options = ("--quiet", "--network", "none", "--build-arg", f"BASE={base}", "--tag", reference)
    engine.docker("build", *options, str(context))
    shutil.rmtree(context)
    return reference


def python_job(engine: Bridged, folder: Path, reference: str, *, uv: bool) -> tuple[str, Path]:
    """Make an image for jobs that has a Python too, with `uv` that as well; return it, and a folder of wheels."""
    job, base = import_root(engine, "job", JOB), import_root(engine, "base", BASE)
    context, wheels = folder / "python-job", folder / "wheels"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {base} AS base\nFROM {job}\nCOPY --from=base /usr /usr\n")
    if uv:
        shutil.copy(Path(sys.executable).with_name("uv"), context)
        with (context / "Dockerfile").open("a") as file:
            file.write("COPY uv /usr/bin/\n")
    engine.docker("build", "--quiet", "--network", "none", "--tag", reference, str(context))
    command = [str(ROOT / "tools" / "download-wheels"), str(wheels), str(TOOLS / "base")]
    run(command, {**engine.toolbox.env(), **_registry_settings()})
    return reference, wheels


def _registry_settings() -> dict[str, str]:
    """Return what this machine says of how pip is to be used."""
    return {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "HTTP", "NO_PROXY"))}
