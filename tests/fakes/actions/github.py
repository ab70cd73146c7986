"""The results service as GitHub's, with its blobs in Azurite; where GitHub's rule is unknown, the stricter one."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from tests.fakes.actions import kinds
from tests.fakes.actions.asked import Asked
from tests.fakes.actions.ledger import Ledger, Record
from tests.fakes.actions.names import objection_to
from tests.fakes.actions.options import Options
from tests.fakes.actions.runs import stamp
from tests.fakes.actions.storage import BlobStorage
from tests.fakes.actions.tokens import Identity
from tests.fakes.actions.twirp_error import BAD_MIME_TYPE, TwirpError

_ZIP = "application/zip"
_EXTENSIONS = {
    _ZIP: "zip",
    "application/gzip": "gz",
    "application/json": "json",
    "application/octet-stream": "bin",
    "application/x-tar": "tar",
    "image/png": "png",
    "text/html": "html",
    "text/plain": "txt",
}
_VERSION_WITH_TYPE = 7
_VERSIONS = (4, _VERSION_WITH_TYPE)


class GitHubResults:
    """The five methods."""

    def __init__(self, options: Options, ledger: Ledger, storage: BlobStorage) -> None:
        self._options = options
        self._ledger = ledger
        self._storage = storage

    async def call(self, method: str, caller: Identity, asked: Asked) -> dict[str, Any]:
        """Do what is asked, and return the answer's fields."""
        match method:
            case kinds.CREATE:
                return self._create(caller, asked)
            case kinds.FINALIZE:
                return await self._finalize(caller, asked)
            case kinds.LIST:
                return self._list(caller, asked)
            case kinds.SIGN:
                return {
                    "signed_url": self.read_url(self._ledger.wanted(caller.run, asked), self._options.read_lifetime)
                }
            case _:
                return await self._delete(caller, asked)

    def _create(self, caller: Identity, asked: Asked) -> dict[str, Any]:
        _check_ids(caller, asked)
        if objection := objection_to(asked.name):
            raise TwirpError("invalid_argument", objection)
        mime_type = _mime_type(asked)
        run_job = f"{asked.run}/workflow-job-run-{asked.job}"
        blob = f"{run_job}/artifacts/{secrets.token_hex(32)}.{_EXTENSIONS[mime_type]}"
        self._storage.reserve(blob)
        self._ledger.reserve(asked, blob, mime_type, self._expiry(asked))
        return {"ok": True, "signed_upload_url": self._storage.sign(blob, "cw", self._options.upload_lifetime)}

    def _expiry(self, asked: Asked) -> datetime:
        now = datetime.now(UTC)
        latest = now + timedelta(days=self._options.max_retention_days)
        if asked.expires_at is None:
            return latest
        if not now < asked.expires_at <= latest + timedelta(minutes=5):
            raise TwirpError("invalid_argument", "expires_at is not within the retention limit")
        return asked.expires_at

    async def _finalize(self, caller: Identity, asked: Asked) -> dict[str, Any]:
        _check_ids(caller, asked)
        record = self._ledger.begun(asked)
        size = await self._storage.size(record.blob)
        if size is None:
            raise TwirpError("invalid_argument", "the artifact has no content: no block list was committed")
        if size == 0 or size != asked.size:
            raise TwirpError("invalid_argument", f"size {asked.size} is not the size of the artifact, {size}")
        if self._options.check_digest and asked.hash != await self._storage.digest(record.blob):
            raise TwirpError("invalid_argument", "hash is not the hash of the artifact")
        return {"ok": True, "artifact_id": str(self._ledger.finish(record, asked).id)}

    def _list(self, caller: Identity, asked: Asked) -> dict[str, Any]:
        _check_ids(caller, asked)
        found = [
            _listed(record)
            for record in self._ledger.seen_from(caller.run)
            if asked.name_filter in {None, record.name} and asked.id_filter in {None, record.id}
        ]
        return {"artifacts": found}

    async def _delete(self, caller: Identity, asked: Asked) -> dict[str, Any]:
        record = self._ledger.remove(caller.run, asked)
        await self.drop_blob(record)
        return {"ok": True, "artifact_id": str(record.id)}

    def read_url(self, record: Record, lifetime: float) -> str:
        """Sign a download, with the file name that a browser shall see."""
        name = f"{record.name}.zip" if record.mime_type == _ZIP else record.name
        kind = "attachment" if record.mime_type == _ZIP else "inline"
        plain = name.encode("ascii", "replace").decode().replace("?", "_")
        disposition = f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
        return self._storage.sign(record.blob, "r", lifetime, {"rscd": disposition, "rsct": record.mime_type})

    async def drop_blob(self, record: Record) -> None:
        """Free the bytes of a record that is gone, unless it had a twin."""
        if not self._ledger.shared(record):
            await self._storage.delete(record.blob)


def _check_ids(caller: Identity, asked: Asked) -> None:
    if (caller.run, caller.job) != (asked.run, asked.job):
        raise TwirpError("permission_denied", "the backend ids are not those of the token")


def _mime_type(asked: Asked) -> str:
    if asked.version not in _VERSIONS:
        raise TwirpError("invalid_argument", f"version must be one of {_VERSIONS}")
    if asked.version < _VERSION_WITH_TYPE:
        return _ZIP  # what every upload was
    if asked.mime_type not in _EXTENSIONS:
        raise TwirpError("invalid_argument", BAD_MIME_TYPE)
    return asked.mime_type


def _listed(record: Record) -> dict[str, Any]:
    digest = {} if record.digest is None else {"digest": record.digest}
    return {
        "workflow_run_backend_id": record.run,
        "workflow_job_run_backend_id": record.job,
        "database_id": str(record.id),
        "name": record.name,
        "size": str(record.size),
        "created_at": stamp(record.created_at),
        **digest,
    }
