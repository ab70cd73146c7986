"""How far a transfer is, on a terminal and without one."""

from collections.abc import AsyncIterator

import pytest

from proxy.commands.bar import advancing
from proxy.commands.progress import shown

CHUNKS = [b"x" * 1024] * 4


async def chunks() -> AsyncIterator[bytes]:
    for chunk in CHUNKS:
        yield chunk


async def test_a_terminal_shows_what_is_transferred_and_how_much(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal

    assert [chunk async for chunk in advancing("save [app:v1]", chunks(), 4096)] == CHUNKS

    told = capsys.readouterr()
    assert "save [app:v1]" in told.err
    assert "4.0/4.0 KiB" in told.err
    assert told.out == ""


async def test_without_a_terminal_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert [chunk async for chunk in shown("save app:v1", chunks(), None)] == CHUNKS
    assert capsys.readouterr() == ("", "")
