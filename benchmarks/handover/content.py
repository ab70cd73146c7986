"""What is handed over: an image of three layers of real files, that no engine and no builder has seen before.

A builder keeps how a layer was compressed, and an engine skips what it has: so every image has layers of its own.
"""

import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measuring import Failed

CONTEXT = "context"
LABEL = "token"
_LAYERS = 3


def write_files(context: Path, source: Path, size: int) -> None:
    """Pack every n-th file of a folder, until the layers have this many bytes together."""
    context.mkdir()
    paths = [path for path in sorted(source.rglob("*")) if path.is_file() and not path.is_symlink()]
    step = max(1, sum(path.stat().st_size for path in paths) // size)
    spread = (path for start in range(step) for path in paths[start::step])
    for number in range(_LAYERS):
        _pack(context / f"{number}.tar", spread, size / _LAYERS)


def _pack(layer: Path, paths: Iterator[Path], size: float) -> None:
    held = 0
    with tarfile.open(layer, "w") as packed:
        for path in paths:
            packed.add(path)
            held += path.stat().st_size
            if held >= size:
                return
    raise Failed("there are not enough files")


def renew(context: Path) -> str:
    """Make every layer one that never was; gives the token that is the label of the image."""
    token = secrets.token_hex(16)
    lines = ["FROM scratch", f"LABEL {LABEL}={token}", 'CMD ["none"]']
    for number in range(_LAYERS):
        (context / f"token{number}").write_text(token)
        lines.append(f"ADD {number}.tar token{number} /")
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")
    return token
