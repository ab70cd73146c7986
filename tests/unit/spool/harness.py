"""A spool without the rest of a relay."""

from pathlib import Path

from proxy.runtime.limits import DEFAULT, Limits
from proxy.runtime.memory import MemoryBudget
from proxy.spool.spool import Spool
from tests.registry_harness import MIB


def spool_in(root: Path, budget: int = 64 * MIB, cache_limit: int = 0, limits: Limits = DEFAULT) -> Spool:
    """Return a spool that is not open yet; sizes in bytes."""
    return Spool(root, level=1, memory=MemoryBudget(budget), cache_limit=cache_limit, limits=limits)


async def opened(root: Path, budget: int = 64 * MIB, cache_limit: int = 0, limits: Limits = DEFAULT) -> Spool:
    """Return an open spool."""
    spool = spool_in(root, budget, cache_limit, limits)
    await spool.open()
    return spool
