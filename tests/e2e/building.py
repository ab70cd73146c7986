"""Images that are built here from roots of Debian: the relay's own, and one in which jobs run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.bridged import Bridged
from tests.e2e.clients import run
from tests.machine import HOST_PATH, INSTALLS, TOOLS, missing, require
from tests.once import Once

ROOT = Path(__file__).parents[2]
RELAY = "ghcr.io/owner/image-relay"  # as the action names it, with an owner
BASE = "relay-base"
JOB = "job-image"
_REGISTRY = ("PIP_", "SSL_", "HTTP", "NO_PROXY")  # what this machine says of how pip is to be used begins so
_PATH = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def import_root(engine: Bridged, name: str, reference: str) -> str:
    """Make an image of a small root that tools/install-test-tools has made."""
    root = TOOLS / name
    if not (TOOLS / "done" / name).exists():
        missing(f"the root {root}", INSTALLS)
    if engine.docker("image", "ls", "--quiet", reference):
        return reference
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


def relay_image(engine: Bridged, folder: Path, once: Once) -> str:
    """Let an engine have the relay's image and its base; they are built in the first engine that needs them."""
    reference = f"{RELAY}:1.0.0"

    def build(tarball: Path) -> None:
        _build(engine, folder / "context", once, reference)
        engine.docker("save", "--output", str(tarball), BASE, reference)

    engine.docker("load", "--input", str(once.made("relay.tar", build)))
    return reference


def _build(engine: Bridged, context: Path, once: Once, reference: str) -> None:
    """Build the relay's image as a person without a network does."""
    base = import_root(engine, "base", BASE)
    shutil.copytree(ROOT, context, ignore=shutil.ignore_patterns(".venv", ".git", ".*_cache", ".hypothesis"))
    shutil.copytree(wheels(once), context / "wheels")
    options = ("--quiet", "--network", "none", "--build-arg", f"BASE={base}", "--tag", reference)
    engine.docker("build", *options, str(context))
    shutil.rmtree(context)


def wheels(once: Once) -> Path:
    """Return a folder of all wheels that the Python of the base needs."""

    def download(folder: Path) -> None:
        settings = {name: value for name, value in os.environ.items() if name.startswith(_REGISTRY)}
        command = [str(ROOT / "tools" / "download-wheels"), str(folder), str(TOOLS / "base")]
        run(command, {"PATH": HOST_PATH, "HOME": str(folder.parent), **settings})

    return once.made("wheels", download)


def python_job(engine: Bridged, folder: Path, reference: str, *, uv: bool) -> str:
    """Make an image for jobs that has a Python too, with `uv` that as well."""
    job, base = import_root(engine, "job", JOB), import_root(engine, "base", BASE)
    context = folder / "python-job"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {base} AS base\nFROM {job}\nCOPY --from=base /usr /usr\n")
    if uv:
        shutil.copy(Path(sys.executable).with_name("uv"), context)
        with (context / "Dockerfile").open("a") as file:
            file.write("COPY uv /usr/bin/\n")
    engine.docker("build", "--quiet", "--network", "none", "--tag", reference, str(context))
    return reference
