"""Of which run the content of a spool is: what was pushed in one run never answers in another, nor is stored there."""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class Run:
    """A run, with its `name` for people; two that share one of the `keys`, which are hashes, are the same run."""

    name: str
    keys: frozenset[str]

    @classmethod
    def of(cls, name: str, *identities: tuple[str, ...]) -> "Run":
        """Return the run that each of these identifies."""
        return cls(name, frozenset(sha256(json.dumps(each).encode()).hexdigest() for each in identities))

    def is_same(self, other: "Run") -> bool:
        """Return whether both are the same run."""
        return not self.keys.isdisjoint(other.keys)


FOLDER = Run.of("a folder", ("folder",))  # where images are files of a folder, there is no run


def read_run(root: Path) -> Run:
    """Return the run of the content below a folder; no file tells of none. Blocks."""
    try:
        document = json.loads((root / _FILE).read_bytes())
        return Run(str(document["name"]), frozenset(map(str, document["keys"])))
    except FileNotFoundError:
        return FOLDER
    except (ValueError, TypeError, LookupError):  # it is damaged
        return Run("an unknown run", frozenset())


def write_run(root: Path, run: Run) -> None:
    """Note the run of the content below a folder. Blocks."""
    if run.is_same(FOLDER):
        (root / _FILE).unlink(missing_ok=True)
        return
    part = root / f"{_FILE}.part"
    part.write_text(json.dumps({"name": run.name, "keys": sorted(run.keys)}))
    part.replace(root / _FILE)
