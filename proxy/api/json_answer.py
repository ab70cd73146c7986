"""Answers in JSON, which people read too: a terminal shows its prompt on a line of its own after them."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web


def json_answer(
    content: object,
    status: int = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
    media_type: str = "application/json; charset=utf-8",
) -> web.Response:
    """Return an answer with this content in JSON, and a line break at its end."""
    body = json.dumps(content).encode() + b"\n"
    return web.Response(body=body, status=status, headers={"Content-Type": media_type, **(headers or {})})
