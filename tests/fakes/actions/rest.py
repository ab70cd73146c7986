"""The part of GitHub's REST interface that reads artifacts and runs, with its tokens, pages and rate limit."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import hdrs, web

from tests.fakes.actions import kinds
from tests.fakes.actions.github import GitHubResults
from tests.fakes.actions.ledger import Ledger, Record
from tests.fakes.actions.options import Options
from tests.fakes.actions.runs import Run, Runs, repository_document, stamp

T = TypeVar("T")

READ = "actions: read"
WRITE = "actions: write"
READ_TOKEN = "ghs_emulator_actions_read"  # noqa: S105 - opens nothing but this
WRITE_TOKEN = "ghs_emulator_actions_write"  # noqa: S105
OTHER_TOKEN = "ghs_emulator_contents_read"  # noqa: S105

_PERMISSIONS = {READ_TOKEN: {READ}, WRITE_TOKEN: {READ, WRITE}, OTHER_TOKEN: set[str]()}
_WINDOW = 3600  # seconds until a used-up budget is full again
_PAGE, _LARGEST_PAGE = 30, 100
_MOST_RUNS = 1000  # that a filtered list shows
_REPOSITORY = "/repos/{owner}/{name}"
_DOCUMENTATION = "https://docs.github.com/rest"


class Rest:
    """The handlers; `routes` tells where they belong."""

    def __init__(self, options: Options, runs: Runs, ledger: Ledger, results: GitHubResults) -> None:
        self._options = options
        self._runs = runs
        self._ledger = ledger
        self._results = results
        self._resets_at = int(time.time()) + _WINDOW

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; the name of a handler is the kind of its requests."""
        actions = f"{_REPOSITORY}/actions"
        plan = [
            ("GET", f"{actions}/artifacts", kinds.REST_ARTIFACTS, self._artifacts),
            ("GET", f"{actions}/runs/{{run}}/artifacts", kinds.REST_RUN_ARTIFACTS, self._artifacts),
            ("GET", f"{actions}/runs/{{run}}", kinds.REST_RUN, self._run),
            ("GET", f"{actions}/workflows/{{file}}/runs", kinds.REST_RUNS, self._of_workflow),
            ("GET", f"{actions}/artifacts/{{id}}", kinds.REST_ARTIFACT, self._artifact),
            ("DELETE", f"{actions}/artifacts/{{id}}", kinds.REST_DELETE, self._delete),
            ("GET", f"{actions}/artifacts/{{id}}/zip", kinds.REST_ZIP, self._zip),
        ]
        return [web.route(method, path, self._guarded(kind, handler)) for method, path, kind, handler in plan]

    def _guarded(
        self, kind: str, handler: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            response = self._refusal(request, kind) or await handler(request)
            response.headers.update(self._limits())
            return response

        handle.__name__ = kind
        return handle

    def _refusal(self, request: web.Request, kind: str) -> web.Response | None:
        if hdrs.USER_AGENT not in request.headers:
            return _error(403, "Request forbidden by administrative rules. Please make sure you have a User-Agent")
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        permissions = _PERMISSIONS.get(token) if scheme in {"Bearer", "token"} else None
        if permissions is not None:
            allowed = (WRITE if kind == kinds.REST_DELETE else READ) in permissions
            return self._spend(request) if allowed else _error(403, "Resource not accessible by integration")
        if hdrs.AUTHORIZATION in request.headers:
            return _error(401, "Bad credentials")
        return self._anonymous(request, kind)

    def _anonymous(self, request: web.Request, kind: str) -> web.Response | None:
        if kind in {kinds.REST_ZIP, kinds.REST_DELETE}:
            return _error(401, "Requires authentication")
        return self._spend(request) if self._options.public else _error(404, "Not Found")

    def _spend(self, request: web.Request) -> web.Response | None:
        if self._options.rest_budget <= 0:
            return _error(403, "API rate limit exceeded for installation.")
        self._options.rest_budget -= 1
        full_name = f"{request.match_info['owner']}/{request.match_info['name']}"
        return None if full_name == self._options.repository else _error(404, "Not Found")

    def _limits(self) -> dict[str, str]:
        remaining = max(self._options.rest_budget, 0)
        return {"x-ratelimit-remaining": str(remaining), "x-ratelimit-reset": str(self._resets_at)}

    async def _artifacts(self, request: web.Request) -> web.Response:
        number, name = request.match_info.get("run"), request.query.get("name")
        if number is not None and self._runs.latest(int(number)) is None:
            return _error(404, "Not Found")
        found = [
            record
            for record in reversed(list(self._ledger.finished()))
            if number in {None, str(self._runs.known(record.run).number)} and name in {None, record.name}
        ]
        if request.query.get("direction") == "asc":
            found.reverse()
        return _paged(request, "artifacts", found, lambda record: self._document(request, record))

    async def _of_workflow(self, request: web.Request) -> web.Response:
        """List the runs of a workflow; `status` names a status or a conclusion, `branch` is that of forks too."""
        branch, status = request.query.get("branch"), request.query.get("status")
        of_workflow = self._runs.of_workflow(request.match_info["file"])
        if not of_workflow:
            return _error(404, "Not Found")
        found = [
            run
            for run in of_workflow
            if branch in {None, run.head_branch} and (status is None or status in {run.status, run.conclusion})
        ]
        return _paged(request, "workflow_runs", found[:_MOST_RUNS], _run_document)

    def _document(self, request: web.Request, record: Record) -> dict[str, Any]:
        url = f"{_root(request)}/repos/{self._options.repository}/actions/artifacts/{record.id}"
        run = self._runs.known(record.run)
        return {
            "id": record.id,
            "node_id": f"MDg6QXJ0aWZhY3Q{record.id}",
            "name": record.name,
            "size_in_bytes": record.size,
            "url": url,
            "archive_download_url": f"{url}/zip",
            "expired": record.expired,
            "digest": record.digest,
            "created_at": stamp(record.created_at),
            "updated_at": stamp(record.created_at),
            "expires_at": stamp(record.expires_at),
            "workflow_run": {
                "id": run.number,
                "repository_id": repository_document(run.repository)["id"],
                "head_repository_id": run.head_repository and repository_document(run.head_repository)["id"],
                "head_branch": run.head_branch,
                "head_sha": run.head_sha,
            },
        }

    def _found(self, request: web.Request) -> Record | None:
        return next((record for record in self._ledger.finished() if str(record.id) == request.match_info["id"]), None)

    async def _artifact(self, request: web.Request) -> web.Response:
        record = self._found(request)
        return web.json_response(self._document(request, record)) if record else _error(404, "Not Found")

    async def _zip(self, request: web.Request) -> web.Response:
        record = self._found(request)
        if record is None:
            return _error(404, "Not Found")
        if record.expired:
            return _error(410, "Artifact has expired")
        url = self._results.read_url(record, self._options.rest_lifetime)
        return web.Response(status=302, headers={hdrs.LOCATION: url})

    async def _delete(self, request: web.Request) -> web.Response:
        record = self._found(request)
        if record is None:
            return _error(404, "Not Found")
        self._ledger.records.remove(record)
        await self._results.drop_blob(record)
        return web.Response(status=204)

    async def _run(self, request: web.Request) -> web.Response:
        number = request.match_info["run"]
        run = self._runs.latest(int(number)) if number.isdecimal() else None
        return web.json_response(_run_document(run)) if run else _error(404, "Not Found")


def _run_document(run: Run) -> dict[str, Any]:
    return {
        "id": run.number,
        "run_attempt": run.attempt,
        "event": run.event,
        "path": f".github/workflows/{run.workflow}",
        "status": run.status,
        "conclusion": run.conclusion,
        "head_branch": run.head_branch,
        "head_sha": run.head_sha,
        "repository": repository_document(run.repository),
        "head_repository": run.head_repository and repository_document(run.head_repository),
    }


def _paged(request: web.Request, key: str, found: list[T], document: Callable[[T], dict[str, Any]]) -> web.Response:
    """Show the page of a list that is asked for."""
    size = min(max(int(request.query.get("per_page", _PAGE)), 1), _LARGEST_PAGE)
    page = max(int(request.query.get("page", 1)), 1)
    shown = [document(each) for each in found[(page - 1) * size : page * size]]
    headers = {hdrs.LINK: _link(request, page + 1)} if page * size < len(found) else {}
    return web.json_response({"total_count": len(found), key: shown}, headers=headers)


def _root(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"


def _link(request: web.Request, page: int) -> str:
    return f'<{_root(request)}{request.rel_url.update_query(page=str(page))}>; rel="next"'


def _error(status: int, message: str) -> web.Response:
    document = {"message": message, "documentation_url": _DOCUMENTATION, "status": str(status)}
    return web.json_response(document, status=status)
