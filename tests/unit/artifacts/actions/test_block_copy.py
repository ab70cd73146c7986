"""When a storage is remembered as one that copies nothing."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest
from aiohttp import web
from yarl import URL

from proxy.api.server import bind_all, listen
from proxy.artifacts.actions.azure import BlobStorage
from proxy.artifacts.actions.block_copy import Copying
from proxy.artifacts.base import Stretch
from proxy.runtime.memory import MemoryBudget
from tests.unit.artifacts.service import connected


@dataclass
class Source:
    """An artifact that is signed, whether it is listed or not."""

    listed: bool

    async def signed(self, refused: URL | None = None) -> URL:
        return URL("http://storage.test/source")

    async def is_listed(self) -> bool:
        return self.listed

    def position(self, offset: int) -> int:
        return offset


async def no_parts() -> AsyncGenerator[bytes]:
    yield b""


@pytest.mark.parametrize("listed", [True, False])
async def test_only_a_refusal_to_copy_from_a_listed_artifact_is_remembered(listed: bool) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=404)

    app = web.Application()
    app.router.add_put("/blob", refuse)
    async with listen(app, bind_all(["127.0.0.1"], 0)) as port, connected() as http:
        storage = BlobStorage(http, MemoryBudget(1))
        url = URL(f"http://127.0.0.1:{port}/blob")
        stretch = Stretch(1, 0, ((Source(listed), 0),), local=False, parts=no_parts)

        assert not await Copying(storage, url, lambda: None).copied(url, stretch)

    assert bool(storage.refusing) is listed
