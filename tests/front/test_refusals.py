"""What `/relay/health` tells of requests that failed."""

from proxy.front.refusals import Refusals
from tests.front.relay import Relay


async def told(relay: Relay) -> list[dict[str, object]]:
    refused: list[dict[str, object]] = (await relay.ask("GET", "/relay/health")).json["refused"]
    return refused


async def test_a_refusal_is_told_once_with_how_often_it_came(relay: Relay) -> None:
    first, _, answer = [await relay.ask("PUT", "/v2/app/manifests/v1", data=b"no manifest") for _ in range(3)]

    (refusal,) = await told(relay)

    assert refusal == {
        "request": "PUT /v2/app/manifests/v1",
        "status": answer.status,
        "message": answer.json["errors"][0]["message"],
        "times": 3,
    }
    assert first.body == answer.body


async def test_looking_for_what_is_not_there_is_no_refusal(relay: Relay) -> None:
    assert (await relay.ask("GET", "/v2/app/manifests/v1")).status == 404
    assert (await relay.ask("HEAD", f"/v2/app/blobs/sha256:{'0' * 64}")).status == 404

    assert await told(relay) == []


async def test_what_is_told_of_a_refusal_is_harmless(relay: Relay) -> None:
    await relay.ask("PUT", "/v2/app/manifests/%0A%23%23%5Berror%5D", data=b"{}")

    (refusal,) = await told(relay)

    assert "##[" not in str(refusal["request"])
    assert "\n" not in str(refusal["request"])


def test_of_many_different_refusals_the_latest_are_kept() -> None:
    refusals = Refusals()
    for number in range(30):
        refusals.note(f"PUT /v2/app/manifests/v{number}", 400, "no")
    refusals.note("PUT /v2/app/manifests/v15", 400, "no")

    requests = [each["request"] for each in refusals.told()]

    assert len(requests) == 20
    assert requests[-2:] == ["PUT /v2/app/manifests/v29", "PUT /v2/app/manifests/v15"]
