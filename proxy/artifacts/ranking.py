"""Which of several artifacts comes first; every reader says the same, whichever clock or job it looks from."""

from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise

from proxy.artifacts.base import Artifact
from proxy.artifacts.naming import numbered

_STEP = 1000


def order(artifact: Artifact) -> tuple[datetime, int, int, str, int]:
    """Return what artifacts are sorted by, the newest last. Ids that are numbers were given in that order."""
    number, key = numbered(artifact.name).number, artifact.id
    return artifact.created, 0 if key.isdecimal() else number, len(key), key, number


def following(number: int) -> int:
    """Return the number after one that is known: never one that `passing` gives."""
    return number + 2 if number % _STEP == _STEP - 1 else number + 1


def passing(number: int) -> int:
    """Return the number for whoever cannot wait any longer for the holder of another one, and tells so by it."""
    return (number // _STEP + 1) * _STEP


def mistaken(artifacts: Iterable[Artifact]) -> set[str]:
    """Return the ids of what was stored by mistake: by who passed over a number whose holder was alive after all.

    So it was if the artifact below is another job's, of the same attempt.
    """
    some = sorted(artifacts, key=lambda each: (_run(each), numbered(each.name).number, order(each)))
    return {
        each.id
        for below, each in pairwise(some)
        if numbered(each.name).number % _STEP == 0 and _run(below) == _run(each) and below.owner != each.owner
    }


def ranked(artifacts: Iterable[Artifact]) -> list[Artifact]:
    """Return the artifacts of one reference, the one that answers first: the newest.

    A twin, which a repeated Finalize makes of an artifact, is as old as that. What was stored by mistake comes last,
    until it is withdrawn.
    """
    some = sorted(artifacts, key=order)
    wrong = mistaken(some)
    since: dict[tuple[str, str], tuple[object, ...]] = {}
    for each in some:
        since.setdefault((each.owner, each.name), order(each))
    return sorted(
        some, key=lambda each: (each.id not in wrong, since[each.owner, each.name], order(each)), reverse=True
    )


def _run(artifact: Artifact) -> str:
    return artifact.owner.partition(":")[0]
