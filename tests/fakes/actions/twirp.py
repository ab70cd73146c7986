"""The wire of the results service: routes, bearer, JSON in and out, errors; each as the flavour does it."""

import json
from typing import Any, Protocol

from aiohttp import hdrs, web

from tests.fakes.actions import kinds
from tests.fakes.actions.asked import Asked, parse
from tests.fakes.actions.options import Flavour, Options
from tests.fakes.actions.playing import Cut
from tests.fakes.actions.tokens import Identity, TokenRefused, read
from tests.fakes.actions.twirp_error import Panic, TwirpError

_URLS = {"signed_url", "signed_upload_url"}

BASE = "/twirp/github.actions.results.api.v1.ArtifactService"


class Results(Protocol):
    """What a flavour does with a request that was read."""

    async def call(self, method: str, caller: Identity, asked: Asked) -> dict[str, Any]: ...


class Twirp:
    """The handler of all five methods."""

    def __init__(self, options: Options, results: Results) -> None:
        self._options = options
        self._results = results

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a call."""
        method = request.match_info["method"]
        try:
            caller = self._caller(request)
            asked = await self._asked(method, request)
            answer = await self._results.call(method, caller or Identity(asked.run, asked.job), asked)
        except TwirpError as error:
            return self._refusal(error)
        except Panic:
            raise Cut from None
        for key in _URLS & answer.keys():
            if answer[key].startswith("/"):
                answer[key] = f"{request.scheme}://{request.host}{answer[key]}"
        return self._answer(answer)

    def _caller(self, request: web.Request) -> Identity | None:
        if self._options.flavour is Flavour.ACT:  # which does not look
            return None
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme != "Bearer":
            raise TwirpError("unauthenticated", "no bearer token")
        try:
            return read(token)
        except (TokenRefused, ValueError, KeyError) as error:
            raise TwirpError("unauthenticated", str(error)) from None

    async def _asked(self, method: str, request: web.Request) -> Asked:
        if method not in kinds.RESULTS or request.content_type != "application/json":
            raise TwirpError("bad_route", "no such method, or no JSON")
        asked = parse(method, _document(await request.read()), self._options.flavour is not Flavour.GITHUB)
        if self._options.flavour.decimal_ids and not asked.run.isdecimal():
            raise TwirpError("malformed", "run-id does not match")
        return asked

    def _answer(self, answer: dict[str, Any]) -> web.Response:
        if self._options.flavour is Flavour.GITHUB:
            return web.json_response(answer)
        return web.Response(text=json.dumps(_camel(answer)), content_type="application/json", charset="utf-8")

    def _refusal(self, error: TwirpError) -> web.Response:
        match self._options.flavour:
            case Flavour.GITHUB:
                return web.json_response({"code": error.code, "msg": str(error)}, status=error.status)
            case Flavour.ACT:
                return web.Response(status=error.status)
            case Flavour.GITEA | Flavour.FORGEJO:
                return web.Response(status=error.status, text=f"{error}\n")


def _document(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        raise TwirpError("malformed", "the body is no JSON") from None


def _camel(value: Any) -> Any:
    """Write a message as Go's protojson does: camelCase, and nothing that has its default."""
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if isinstance(value, dict):
        return {_camel_key(key): _camel(item) for key, item in value.items() if item not in (False, "", "0", [])}
    return value


def _camel_key(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(word.title() for word in rest)
