"""The workflow runs that the emulator knows: what REST tells about them, and which backend ids belong together."""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.fakes.actions.options import Options


@dataclass(slots=True, kw_only=True)
class Run:
    """One attempt of a workflow run; the others have the same number and other backend ids."""

    number: int
    attempt: int
    backend_id: str
    repository: str
    head_repository: str | None
    head_branch: str = "main"
    head_sha: str = ""
    event: str = "push"
    workflow: str = "build.yml"
    status: str = "in_progress"
    conclusion: str | None = None
    sees_earlier: bool = True  # "re-run failed jobs" reads what earlier attempts left, "re-run all jobs" does not

    def __post_init__(self) -> None:
        self.head_sha = self.head_sha or hashlib.sha1(str(self.number).encode(), usedforsecurity=False).hexdigest()


class Runs:
    """All runs, found by backend id or by number."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._runs: dict[str, Run] = {}

    def attempt_of(self, number: int, attempt: int) -> Run:
        """Return an attempt of a run, which is made at its first mention."""
        for run in self._runs.values():
            if (run.number, run.attempt) == (number, attempt):
                return run
        repository = self._options.repository
        run = Run(
            number=number,
            attempt=attempt,
            backend_id=self._backend_id(f"run {number} {attempt}", number),
            repository=repository,
            head_repository=repository,
        )
        self._runs.setdefault(run.backend_id, run)  # elsewhere than on GitHub, attempts share their id
        return self._runs[run.backend_id]

    def job_id(self, run: Run, job: str) -> str:
        """Return the backend id of a job; the name decides it."""
        text = f"{run.backend_id} {job}"
        return self._backend_id(text, int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]))

    def known(self, backend_id: str) -> Run:
        """Return a run by the id in a token that was minted by hand; it gets a number of its own."""
        if backend_id not in self._runs:
            number = max((run.number for run in self._runs.values()), default=1000) + 1
            run = self.attempt_of(number, 1)
            del self._runs[run.backend_id]
            run.backend_id = backend_id
            self._runs[backend_id] = run
        return self._runs[backend_id]

    def visible_from(self, backend_id: str) -> set[str]:
        """Return the backend ids whose artifacts a job of this attempt sees."""
        own = self.known(backend_id)
        earlier = own.attempt if own.sees_earlier else 0
        return {backend_id} | {run.backend_id for run in self._of(own.number) if run.attempt < earlier}

    def of_workflow(self, file: str) -> list[Run]:
        """Return the last attempts of the runs of a workflow, the newest run first."""
        numbers = dict.fromkeys(run.number for run in self._runs.values() if run.workflow == file)
        return [run for number in reversed(numbers) if (run := self.latest(number))]

    def siblings(self, backend_id: str) -> set[str]:
        """Return the backend ids of all attempts of the same run."""
        return {run.backend_id for run in self._of(self.known(backend_id).number)}

    def latest(self, number: int) -> Run | None:
        """Return the last attempt of a run."""
        return max(self._of(number), key=lambda run: run.attempt, default=None)

    def _of(self, number: int) -> list[Run]:
        return [run for run in self._runs.values() if run.number == number]

    def _backend_id(self, text: str, number: int) -> str:
        return str(number) if self._options.flavour.decimal_ids else str(uuid.uuid5(uuid.NAMESPACE_OID, text))


def stamp(moment: datetime) -> str:
    """Write a time in whole seconds, as GitHub does: two artifacts of one second have the same."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def repository_document(full_name: str) -> dict[str, Any]:
    """Describe a repository as far as a client looks at it."""
    owner, _, name = full_name.partition("/")
    number = int.from_bytes(hashlib.sha256(full_name.encode()).digest()[:4])
    return {"id": number, "name": name, "full_name": full_name, "owner": {"login": owner}}
