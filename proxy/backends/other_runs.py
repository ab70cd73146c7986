"""Other runs of the repository, whose images can be pulled where this run has none."""

import logging
from pathlib import Path

from proxy.artifacts.actions.azure import BlobStorage
from proxy.artifacts.actions.github_api import GitHubApi
from proxy.artifacts.actions.rest_reader import RestReader
from proxy.artifacts.actions.rest_runs import NewestRun, Sources, WorkflowRun
from proxy.artifacts.actions.store import ActionsStore
from proxy.artifacts.actions.trusted_hosts import TrustedHosts
from proxy.artifacts.naming import Naming
from proxy.catalog.catalog import Catalog
from proxy.catalog.other_run import OtherRun
from proxy.runtime.limits import Limits

_log = logging.getLogger(__name__)
_READ_ONLY = "other runs are only read"
_KEPT = 60.0  # seconds for which a listing of a run is good that, as a rule, has ended


class OtherRuns:
    """Opens other runs: each has a store and a catalog of its own."""

    def __init__(
        self, storage: BlobStorage, trust: TrustedHosts, naming: Naming, folder: Path, limits: Limits, trust_forks: bool
    ) -> None:
        self.runs: tuple[OtherRun, ...] = ()
        self._storage = storage
        self._trust = trust
        self._naming = naming
        self._folder = folder
        self._limits = limits
        self._trust_forks = trust_forks
        self._sources: Sources | None = None

    def read(self, sources: Sources | None, *, anew: bool = False) -> None:
        """Read these runs from now on, instead of any others. Nothing is asked before somebody looks for something.

        `anew`, the newest run of a workflow is another one by now.
        """
        if sources == self._sources and not anew:
            return  # what was found out about them stays known
        if sources is None:
            self._sources, self.runs = None, ()
            return
        api = GitHubApi(self._storage.http, sources.token, self._storage.timeouts, self._storage.events)
        self._sources, self.runs = sources, tuple(self._open(api, run) for run in sources.runs)
        _log.info("what this run does not have is read from: %s", ", ".join(map(str, sources.runs)))

    def _open(self, api: GitHubApi, run: WorkflowRun | NewestRun) -> OtherRun:
        reader = RestReader(api, run, another=True, trust_forks=self._trust_forks, closed=_READ_ONLY, kept=_KEPT)
        store = ActionsStore(self._storage, self._trust, self._folder)
        store.read_with(reader, _READ_ONLY)
        return OtherRun(Catalog(store, self._naming, self._folder, self._limits), lambda: str(reader.run))
