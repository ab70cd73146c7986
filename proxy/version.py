"""Which image-relay this is."""

import tomllib
from importlib import metadata
from pathlib import Path


def version() -> str:
    """Return the version of what is installed; of sources that run where they lie, the one they say."""
    sources = Path(__file__).parents[1] / "pyproject.toml"
    if sources.exists():
        return str(tomllib.loads(sources.read_text())["project"]["version"])
    return metadata.version("image-relay")
