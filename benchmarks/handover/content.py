"""What is handed over: an image of three layers of real files, that no engine and no builder has seen before.

A builder keeps how a layer was compressed, and an engine skips what it has: so every image has layers of its own.
"""

import os
import secrets
from pathlib import Path

from benchmarks.measuring import Failed

CONTEXT = "context"
LABEL = "token"
_LAYERS = 3
_TOKEN = "token"  # noqa: S105 - the file that makes a layer another one
_DOCKERFILE = 'FROM scratch\n{copies}\nLABEL {label}={token}\nCMD ["none"]\n'


def write_files(context: Path, source: Path, size: int) -> None:
    """Copy files of a folder, as large ones and small ones follow there, until the layers have this size together."""
    files = (Path(folder, name) for folder, _, names in os.walk(source) for name in sorted(names))
    plain = (path for path in files if path.is_file() and not path.is_symlink())
    for number in range(_LAYERS):
        layer, held = context / str(number), 0
        layer.mkdir(parents=True)
        for path in plain:
            target = layer / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            held += path.stat().st_size
            if held >= size / _LAYERS:
                break
        else:
            raise Failed(f"{source} has not enough files")


def renew(context: Path) -> str:
    """Make every layer one that never was; gives the token that is the label of the image."""
    token = secrets.token_hex(16)
    for number in range(_LAYERS):
        (context / str(number) / _TOKEN).write_text(f"{token}{number}")
    copies = "\n".join(f"COPY {number} /" for number in range(_LAYERS))
    (context / "Dockerfile").write_text(_DOCKERFILE.format(copies=copies, label=LABEL, token=token))
    return token
