"""What a request names, read once and checked: nothing below the front sees raw text."""

import re

from aiohttp import web

from proxy.errors import DigestInvalid, PaginationNumberInvalid
from proxy.front.keys import PUSH
from proxy.oci.digest import Digest, hashing
from proxy.oci.names import Name, Tag, parse_reference

_NUMBER = re.compile(r"[0-9]{1,40}")


def name_of(request: web.Request) -> Name:
    """Read the repository; a request to it keeps what is pending there from being settled."""
    name = Name.parse(request.match_info["name"])
    request.app[PUSH].touch(name)
    return name


def digest_of(request: web.Request) -> Digest:
    """Read the digest in the path."""
    return Digest.parse(request.match_info["digest"])


def reference_of(request: web.Request) -> Tag | Digest:
    """Read the tag or digest in the path."""
    return parse_reference(request.match_info["reference"])


def digest_parameter(request: web.Request) -> Digest:
    """Read `?digest=`, which has to stand there once."""
    given = request.query.getall("digest", [])
    if len(given) != 1:
        raise DigestInvalid("the upload has to end with one ?digest=<digest of the content>")
    return Digest.parse(given[0])


def algorithm_parameter(request: web.Request) -> str:
    """Read `?digest-algorithm=` of an upload to be; who uses another digest than sha256 often does not say so."""
    algorithm = request.query.get("digest-algorithm", "sha256")
    hashing(algorithm)
    return algorithm


def tags_parameter(request: web.Request) -> list[Tag]:
    """Read every `?tag=` of a manifest, each once."""
    return [Tag.parse(text) for text in dict.fromkeys(request.query.getall("tag", []))]


def page_of(request: web.Request) -> tuple[int | None, str]:
    """Read `?n=` and `?last=` of a listing; no number means all."""
    number = request.query.get("n")
    if number is not None and not _NUMBER.fullmatch(number):
        raise PaginationNumberInvalid(f"n={number[:40]!r} is not a number of results")
    return None if number is None else int(number), request.query.get("last", "")
