"""Another run, which is only read."""

from collections.abc import Callable
from dataclasses import dataclass

from proxy.catalog.catalog import Catalog


@dataclass(frozen=True, slots=True)
class OtherRun:
    """The catalog of another run; `describe` says which run that is, as far as this is known."""

    catalog: Catalog
    describe: Callable[[], str]
