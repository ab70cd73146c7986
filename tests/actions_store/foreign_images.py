"""Another client of the same run, which stores what it likes under any name."""

import hashlib
from typing import Any

from aiohttp import ClientSession
from yarl import URL

from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator, Job
from tests.fakes.actions.twirp import BASE


async def call(actions: Emulator, job: Job, method: str, **fields: object) -> dict[str, Any]:
    """Call the results service as a job."""
    ids = {"workflow_run_backend_id": job.run.backend_id, "workflow_job_run_backend_id": job.id}
    headers = {"Authorization": f"Bearer {job.token}"}
    async with (
        ClientSession() as http,
        http.post(f"{actions.origin}{BASE}/{method}", json=ids | fields, headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return dict(await answer.json())


async def store(actions: Emulator, job: Job, name: str, content: bytes) -> None:
    """Make an artifact of these very bytes."""
    created = await call(actions, job, kinds.CREATE, name=name, version=4)
    headers = {"x-ms-blob-type": "BlockBlob"}
    async with (
        ClientSession() as http,
        http.put(URL(created["signed_upload_url"], encoded=True), data=content, headers=headers) as answer,
    ):
        assert answer.status == 201, await answer.text()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    await call(actions, job, kinds.FINALIZE, name=name, size=str(len(content)), hash=digest)
