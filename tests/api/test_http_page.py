"""The page of HTTP addresses names every one that is not the specification's, and every field of an image."""

import re
from pathlib import Path

from proxy.api.routes import ROUTES
from tests.api.relay import Relay, pushed_image

PAGE = (Path(__file__).parents[2] / "docs" / "http-api.md").read_text(encoding="utf-8")


def test_the_page_has_all_addresses_and_no_other() -> None:
    own = {(each.method, each.path.partition("{")[0].rstrip("/")) for each in ROUTES if not each.path.startswith("/v")}
    named = re.findall(r"`([A-Z]+) (/(?:relay/[a-z]+|metrics))[^`]*`", PAGE)

    assert set(named) == own


async def test_the_page_has_all_fields_of_an_image(relay: Relay) -> None:
    rows = re.findall(r"^\| (`[^|]+`) \|", PAGE.partition("## Images")[2], re.MULTILINE)
    named = {field for row in rows for field in re.findall("`([a-z_]+)`", row)}
    await relay.push_image("v1")
    await relay.push_blob(b"{}", name="other")
    await relay.push(pushed_image(b"{}"), name="other")

    listed = (await relay.ask("GET", "/relay/images")).json["images"]

    assert len(listed) == 2
    assert {field for image in listed for field in image} == named - {"artifact_id", "expires", "problem"}
