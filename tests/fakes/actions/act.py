"""nektos/act's results service: a folder per artifact. Whatever is sent is appended, whatever is there is listed."""

import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from aiohttp import web

from tests.fakes.actions import kinds, local_files
from tests.fakes.actions.asked import Asked
from tests.fakes.actions.local_urls import DOWNLOAD, UPLOAD, LocalUrls, Target, raw_query
from tests.fakes.actions.options import Options
from tests.fakes.actions.playing import Cut
from tests.fakes.actions.runs import stamp
from tests.fakes.actions.tokens import Identity
from tests.fakes.actions.twirp_error import Panic
from tests.fakes.actions.violations import Violations

_FOLDER_SIZE = "4096"  # it lists the size of the folder


class ActResults:
    """The five methods, and the two endpoints for the bytes."""

    def __init__(self, options: Options, urls: LocalUrls, folder: Path, violations: Violations) -> None:
        self._options = options
        self._urls = urls
        self._folder = folder
        self._violations = violations
        self._uploads: Counter[Path] = Counter()

    async def call(self, method: str, caller: Identity, asked: Asked) -> dict[str, Any]:
        """Do what is asked; the job and the token do not matter."""
        path = self._path(asked.run, asked.name)
        target = Target(asked.run, caller.job, asked.name, 0)
        match method:
            case kinds.CREATE:
                _make_empty(path)
                url = self._urls.sign(UPLOAD, target, self._options.upload_lifetime)
                return {"ok": True, "signed_upload_url": url}
            case kinds.FINALIZE:
                return {"ok": True, "artifact_id": str(_number(asked.name))}
            case kinds.LIST:
                return {"artifacts": self._list(asked)}
            case kinds.SIGN:
                return {"signed_url": self._urls.sign(DOWNLOAD, target, self._options.read_lifetime)}
            case _:
                shutil.rmtree(path.parent, ignore_errors=True)
                return {"ok": True, "artifact_id": str(_number(asked.name))}

    def _path(self, run: str, name: str) -> Path:
        return self._folder / run / quote(name, safe=" ") / "content"

    def _list(self, asked: Asked) -> list[dict[str, Any]]:
        run = self._folder / asked.run
        if not run.is_dir():
            raise Panic
        names = {path.name: path for path in sorted(run.iterdir())}
        return [
            {
                "workflow_run_backend_id": asked.run,
                "workflow_job_run_backend_id": asked.job,
                "database_id": str(_number(name)),
                "name": name,
                "size": _FOLDER_SIZE,
                "created_at": stamp(datetime.fromtimestamp(path.stat().st_mtime, UTC)),
            }
            for name, path in ((unquote(quoted), path) for quoted, path in names.items())
            if asked.name_filter in {None, name} and asked.id_filter in {None, _number(name)}
        ]

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Append a block; its id and the list of blocks are not looked at."""
        target = self._urls.check(UPLOAD, request)
        comp = raw_query(request).get("comp")
        if comp not in {"block", "appendBlock"}:
            return web.Response(status=201 if comp == "blocklist" else 200)
        path = self._path(target.run, target.name)
        if self._uploads[path]:
            self._violations.record("blocks of one artifact came at the same time to a server that appends them")
        self._uploads[path] += 1
        try:
            await local_files.append(request, path)
        finally:
            self._uploads[path] -= 1
        return web.Response(status=201)

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Send the whole file; Range is not looked at."""
        target = self._urls.check(DOWNLOAD, request)
        path = self._path(target.run, target.name)
        if not path.is_file():
            raise Cut
        return await local_files.serve_copied(request, path)


def _make_empty(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def _number(name: str) -> int:
    """FNV-1, 32 bits."""
    number = 0x811C9DC5
    for byte in name.encode():
        number = (number * 0x01000193) % 2**32 ^ byte
    return number
