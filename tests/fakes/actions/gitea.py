"""Gitea's results service up to 1.25, and Forgejo's: rows by run and name, blocks kept without the artifact's id."""

import hashlib
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from aiohttp import web

from tests.fakes.actions import kinds, local_files
from tests.fakes.actions.asked import Asked
from tests.fakes.actions.local_urls import DOWNLOAD, UPLOAD, LocalUrls, Target, raw_query
from tests.fakes.actions.options import Flavour, Options
from tests.fakes.actions.runs import stamp
from tests.fakes.actions.tokens import Identity
from tests.fakes.actions.twirp_error import TwirpError
from tests.fakes.actions.violations import Violations

_NOT_FOUND = "Error artifact not found"
_NO_MERGE = "Error merge chunks"
_DAY = 24 * 3600.0  # seconds


@dataclass(slots=True)
class Row:
    """One artifact; created again it stays the same row, with its old content until the next finalize."""

    id: int
    created_at: datetime
    size: int = 0
    expired: bool = False
    confirmed: bool = False
    block_list: list[str] | None = None
    content: Path | None = None


class GiteaResults:
    """The five methods, and the two endpoints for the bytes."""

    def __init__(self, options: Options, urls: LocalUrls, folder: Path, violations: Violations) -> None:
        self._options = options
        self._urls = urls
        self._folder = folder
        self._violations = violations
        self._ids = itertools.count(101)
        self._rows: dict[tuple[str, str], Row] = {}
        self.ended_jobs: set[str] = set()  # signed URLs work only as long as their job runs

    async def call(self, method: str, caller: Identity, asked: Asked) -> dict[str, Any]:
        """Do what is asked; the run must be the token's."""
        if asked.run != caller.run:
            raise TwirpError("malformed", "run-id does not match")
        match method:
            case kinds.CREATE:
                return self._create(caller, asked)
            case kinds.FINALIZE:
                return {"ok": True, "artifact_id": str((await self._finalize(asked)).id)}
            case kinds.LIST:
                return {"artifacts": self._list(asked)}
            case kinds.SIGN:
                return {"signed_url": self._sign(caller, asked)}
            case _:
                row = self._row(asked.run, asked.name)
                del self._rows[asked.run, asked.name]
                return {"ok": True, "artifact_id": str(row.id)}

    def _create(self, caller: Identity, asked: Asked) -> dict[str, Any]:
        row = self._rows.setdefault((asked.run, asked.name), Row(next(self._ids), datetime.now(UTC)))
        row.size, row.block_list = 0, None
        if asked.expires_at:  # whole days, rounded down
            row.expired = (asked.expires_at - datetime.now(UTC)).total_seconds() < _DAY
        target = Target(asked.run, caller.job, asked.name, row.id)
        return {"ok": True, "signed_upload_url": self._urls.sign(UPLOAD, target, self._options.upload_lifetime)}

    async def _finalize(self, asked: Asked) -> Row:
        row = self._row(asked.run, asked.name)
        if not row.block_list:
            raise TwirpError("internal", _NO_MERGE)
        found = [self._newest_block(asked.run, block) for block in row.block_list]
        blocks = [block for block in found if block is not None]
        row.size = sum(block.stat().st_size for block in blocks)
        if len(blocks) < len(found):
            return row  # answered as if all were well, but never confirmed
        merged = self._folder / f"content-{row.id}-{next(self._ids)}"
        digest = local_files.merge(blocks, merged)
        if asked.hash and not asked.hash.endswith(digest):
            raise TwirpError("internal", _NO_MERGE)
        row.content, row.confirmed, row.block_list = merged, True, None
        return row

    def _list(self, asked: Asked) -> list[dict[str, Any]]:
        listed = [
            {
                "workflow_run_backend_id": asked.run,
                "workflow_job_run_backend_id": asked.job,
                "database_id": str(row.id),
                "name": name,
                "size": str(row.size),
                "created_at": stamp(row.created_at),
            }
            for (run, name), row in self._rows.items()
            if run == asked.run and not row.expired
        ]
        if not listed:
            raise TwirpError("not_found", _NOT_FOUND)
        return [
            entry
            for entry in listed
            if asked.name_filter in {None, entry["name"]} and str(asked.id_filter) in {"None", entry["database_id"]}
        ]

    def _sign(self, caller: Identity, asked: Asked) -> str:
        row = self._row(asked.run, asked.name)
        if not row.confirmed:
            raise TwirpError("not_found", _NOT_FOUND)
        target = Target(asked.run, caller.job, asked.name, row.id)
        return self._urls.sign(DOWNLOAD, target, self._options.read_lifetime)

    def _row(self, run: str, name: str) -> Row:
        if (run, name) not in self._rows:
            raise TwirpError("not_found", _NOT_FOUND)
        return self._rows[run, name]

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Keep a block, or the list of them."""
        target = self._checked(UPLOAD, request)
        query = raw_query(request)
        if query.get("comp") == "blocklist":
            ids = [element.text or "" for element in ElementTree.fromstring(await request.read())]  # noqa: S314
            self._row(target.run, target.name).block_list = ids
            return web.Response(status=201)
        if query.get("comp") != "block":
            return web.Response(status=200)
        path = self._block(target.run, request.content_length, unquote(query.get("blockid", "")))
        path.unlink(missing_ok=True)
        await local_files.append(request, path)
        return web.Response(status=201)

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Send the content: Forgejo understands Range, Gitea copies."""
        target = self._checked(DOWNLOAD, request)
        row = self._rows.get((target.run, target.name))
        if row is None or row.content is None:
            return web.Response(status=404, text=f"{_NOT_FOUND}\n")
        if self._options.flavour is Flavour.FORGEJO:
            return await local_files.serve_ranged(request, row.content, self._violations)
        return await local_files.serve_copied(request, row.content)

    def _checked(self, endpoint: str, request: web.Request) -> Target:
        target = self._urls.check(endpoint, request)
        if target.job in self.ended_jobs:
            raise web.HTTPInternalServerError(text="Error runner api getting task: task is not running\n")
        return target

    def _block(self, run: str, size: int | None, block: str) -> Path:
        """Name a block's file as they do: by run, declared length and id alone, so artifacts can overwrite others'."""
        key = hashlib.sha256(block.encode()).hexdigest()
        return self._folder / f"block-{run}-{-1 if size is None else size}-{key}"

    def _newest_block(self, run: str, block: str) -> Path | None:
        key = hashlib.sha256(block.encode()).hexdigest()
        found = [path for path in self._folder.glob(f"block-{run}-*-{key}") if f"-{path.stat().st_size}-" in path.name]
        return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
