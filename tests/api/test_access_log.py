"""What a relay tells of itself: metrics, summary, refusals, and the lines of its log."""

import asyncio
import json
import logging
import re
from pathlib import Path

import pytest
from aiohttp import encode_basic_auth
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from proxy.events import Answered
from proxy.oci.digest import Digest
from proxy.reporting.log_format import JsonLines
from proxy.reporting.metrics import Metrics
from tests import tarballs
from tests.api.relay import Relay, connected, exchange, pushed_index, request, running
from tests.registry_harness import noise
from tests.tarballs import sample

SECRET = "correct horse"  # noqa: S105
Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Figures:
    """Read figures as Prometheus does."""
    return {
        (sample.name.removeprefix("image_relay_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def figures(relay: Relay) -> Figures:
    answer = await relay.ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return read(answer.body.decode())


def labels(**wanted: str) -> frozenset[tuple[str, str]]:
    return frozenset(wanted.items())


async def refused(relay: Relay, password: str = "") -> list[tuple[str, str, int, int]]:
    health = (await relay.ask("GET", "/relay/health", headers=_basic(password))).json
    return [(each["method"], each["path"], each["status"], each["count"]) for each in health["refused"]]


async def pull(relay: Relay, reference: object, name: str = "app") -> None:
    """Pull as containerd does: the digest of a tag first, then by digest."""
    digest = (await relay.ask("HEAD", f"/v2/{name}/manifests/{reference}")).headers["Docker-Content-Digest"]
    manifest = (await relay.get(digest, name)).json
    for descriptor in manifest.get("manifests", []):
        await pull(relay, descriptor["digest"], name)
    for descriptor in manifest.get("layers", []):
        assert (await relay.ask("GET", f"/v2/{name}/blobs/{descriptor['digest']}")).status == 200


# Metrics


async def test_metrics_count_what_was_done(relay: Relay) -> None:
    layer = noise(100_000)
    await relay.push_image("v1", layers=[layer])
    await relay.push_image("v1", layers=[layer])
    pending = await relay.push_image(layers=[b"pending"])
    await relay.open_upload()
    await pull(relay, "v1")
    relay.services.pulls.end()

    found = await figures(relay)

    by_tag = {"route": "/v2/{name}/manifests/{reference}", "status": "201"}
    assert found["requests_total", labels(method="PUT", **by_tag)] == 3
    assert found["push_seconds_count", labels()] == 3
    assert found["seals_total", labels(outcome="stored")] == found["seal_seconds_count", labels()] == 1
    assert found["seals_total", labels(outcome="unchanged")] == 1
    assert found["pull_seconds_count", labels()] == 1
    assert 100_000 < found["pull_bytes_total", labels()] < 101_000
    assert 200_000 < found["push_bytes_total", labels()] <= found["received_bytes_total", labels()] < 210_000
    assert 100_000 < found["sent_bytes_total", labels()] < 110_000
    stored = found["seal_bytes_total", labels(origin="new")]
    assert stored == (relay.data / "image-app@v1.tar.zst").stat().st_size
    assert found["ready", labels()] == found["open_uploads", labels()] == found["pending_manifests", labels()] == 1
    assert found["failed_manifests", labels()] == 0
    assert found["spool_bytes", labels()] > len(b"pending")
    assert (await relay.get(pending.digest)).status == 200
    assert not any(name.endswith("_created") for name, _ in found)
    assert ("session_expires_timestamp_seconds", labels()) not in found


async def test_failed_seals_are_counted_until_they_succeed(relay: Relay) -> None:
    await relay.push_image()
    relay.break_store()
    await relay.flush()

    broken = await figures(relay)
    relay.mend_store()
    await relay.flush()
    mended = await figures(relay)

    assert (broken["failed_manifests", labels()], mended["failed_manifests", labels()]) == (1, 0)
    assert mended["seals_total", labels(outcome="failed")] == mended["seals_total", labels(outcome="stored")] == 1


async def test_no_request_can_make_a_label_of_its_own(relay: Relay) -> None:
    await relay.push_image("v1", name="team/secret-name")
    await relay.ask("PURGE", "/v2/secret-name/manifests/v1")
    await relay.ask("GET", "/secret-name/secret-name")
    await relay.ask("GET", "/v2/secret-name/blobs/uploads/secret-name")

    text = (await relay.ask("GET", "/metrics")).body.decode()

    assert "secret" not in text
    found = read(text)
    assert found["requests_total", labels(method="other", route="none", status="405")] == 1
    assert found["requests_total", labels(method="GET", route="none", status="404")] == 1


@given(st.text(), st.text())
def test_label_values_are_few_whatever_is_asked(method: str, path: str) -> None:
    metrics = Metrics()
    metrics.handle(Answered(method, "none", path, 404, "why"))

    found = read(metrics.text({}, {}).decode())

    ((_, shown),) = [key for key in found if key[0] == "requests_total"]
    assert dict(shown)["method"] in {"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "other"}
    assert dict(shown)["route"] == "none"


async def test_two_relays_in_one_process_count_for_themselves(relay: Relay, tmp_path: Path) -> None:
    async with running(tmp_path / "other") as other:
        await relay.push_image("v1")

        ours, theirs = await figures(relay), await figures(other)

    assert ours["push_seconds_count", labels()] == 1
    assert theirs["push_seconds_count", labels()] == 0


async def test_the_version_is_a_figure_too(relay: Relay) -> None:
    version = (await relay.ask("GET", "/relay/health")).json["version"]

    assert (await figures(relay))["info", labels(version=version, store="directory")] == 1


# The summary


async def test_the_summary_tells_what_was_pushed_and_pulled(relay: Relay) -> None:
    base = noise(300_000)
    await relay.push_image("v1", layers=[base])
    second = await relay.push_image("v2", layers=[base, b"more"])
    await pull(relay, "v2")

    answer = await relay.ask("GET", "/relay/summary")

    written = answer.body.decode()
    assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
    rows = [line.strip("| ").split(" | ") for line in written.splitlines() if line.startswith("| `app:")]
    assert written.startswith("### image-relay: 2 images pushed, 1 image pulled\n")
    assert [row[:2] for row in rows] == [["`app:v1`", "`linux/amd64`"], ["`app:v2`", "`linux/amd64`"]]
    assert [row[5] for row in rows] == ["-", "293.0\N{NO-BREAK SPACE}KiB"]
    assert "stored in" in rows[0][6]
    assert "pulled in" in rows[1][6]
    assert f"From this relay:\n\n```sh\ndocker pull localhost:{relay.port}/app:v1\n# " in written
    assert f"docker pull localhost:{relay.port}/app:v2\n# {second.digest}\n" in written
    assert f"docker load -i {relay.data}/image-app@v2.tar.zst\n" in written
    assert 'store[("the folder of the relay")]' in written


async def test_the_summary_of_a_later_job_says_where_its_images_came_from(relay: Relay) -> None:
    await relay.push_image("v1")
    async with running(relay.data) as later:
        await pull(later, "v1")

        written = (await later.ask("GET", "/relay/summary")).body.decode()

    assert written.startswith("### image-relay: 1 image pulled\n")
    (row,) = [line for line in written.splitlines() if line.startswith("| `app:")]
    assert "| pulled in" in row
    assert " are kept in the folder of the relay" in written


async def test_the_summary_of_a_relay_that_did_nothing_is_empty(relay: Relay) -> None:
    for path in ("/v2/", "/relay/health", "/relay/images", "/metrics", "/v2/_catalog"):
        await relay.ask("GET", path)

    answer = await relay.ask("GET", "/relay/summary")

    assert (answer.status, answer.body) == (200, b"")


async def test_the_summary_tells_what_is_not_stored_and_what_is_not_there(relay: Relay) -> None:
    failed = await relay.push_image()
    relay.break_store()
    await relay.flush()
    pending = await relay.push_image(layers=[b"pending"], name="other")
    await relay.get("nope")
    relay.mend_store()

    written = (await relay.ask("GET", "/relay/summary")).body.decode()

    assert f"- `app@{failed.digest}`: `cannot write to " in written
    assert f"- `other@{pending.digest}`\n" in written
    assert "Asked for, and not there:\n\n- `app:nope is not here (" in written
    assert "| `POST /relay/flush` | 503 |" in written


async def test_images_that_are_gone_and_indexes_are_rows_too(relay: Relay) -> None:
    child = await relay.push_image(layers=[b"child"])
    both = pushed_index(child.descriptor(platform={"os": "linux", "architecture": "`|<b>"}))
    await relay.push(both, "multi")
    gone = await relay.push_image("gone")
    await relay.ask("DELETE", "/v2/app/manifests/gone")
    await relay.push(child)
    await relay.flush()

    written = (await relay.ask("GET", "/relay/summary")).body.decode()

    assert f"| `app:multi` | `{str(both.digest)[:19]}` | ``linux/`¦<b>`` |" in written
    assert f"| `app:gone` | `{str(gone.digest)[:19]}` | - | - | - |" in written
    assert f"docker pull localhost:{relay.port}/app:gone" not in written


# Refusals


async def test_health_shows_what_was_refused_with_counts(relay: Relay) -> None:
    for _ in range(3):
        await relay.ask("GET", "/v2/", headers={"Host": "evil.example"})
    await relay.ask("PUT", "/v2/app/manifests/v1", data=b"{}", headers={"Origin": "http://page"})
    await relay.ask("GET", f"/v2/app/blobs/{Digest.of(b'?')}")
    await relay.ask("HEAD", "/v2/app/manifests/v1")

    health = (await relay.ask("GET", "/relay/health")).json

    assert health["refused"] == [
        {
            "method": "GET",
            "path": "/v2/",
            "status": 421,
            "message": "this relay does not answer for evil.example; if it should, start it with "
            "RELAY_PUBLIC_HOST=evil.example",
            "count": 3,
        },
        {
            "method": "PUT",
            "path": "/v2/app/manifests/v1",
            "status": 403,
            "message": "requests from web pages (with an Origin header) are refused",
            "count": 1,
        },
    ]
    assert [each["path"] for each in health["missing"]] == ["/v2/app/manifests/v1"]
    await relay.push_image("v1")
    assert (await relay.ask("GET", "/relay/health")).json["missing"] == []


async def test_who_only_asks_whether_to_log_in_was_not_refused(tmp_path: Path) -> None:
    async with running(tmp_path, password=SECRET) as relay:
        await relay.ask("GET", "/v2/")
        assert await refused(relay, SECRET) == [("GET", "/v2/", 401, 1)]

        await relay.ask("GET", "/v2/", headers=_basic(SECRET))
        assert await refused(relay, SECRET) == []

        await relay.ask("GET", "/v2/", headers=_basic("wrong"))
        assert await refused(relay, SECRET) == [("GET", "/v2/", 401, 1)]
        health = (await relay.ask("GET", "/relay/health", headers=_basic(SECRET))).body.decode()

    assert SECRET not in health
    assert "wrong" not in health


@pytest.mark.parametrize("headers", [{}, "wrong"])
async def test_health_shows_no_names_to_who_has_not_the_password(tmp_path: Path, headers: dict[str, str] | str) -> None:
    given = _basic(headers) if isinstance(headers, str) else headers
    async with running(tmp_path, password=SECRET) as relay:
        await relay.ask("GET", "/v2/secret/name/manifests/v1", headers=_basic(SECRET))
        whole = (await relay.ask("GET", "/relay/health", headers=_basic(SECRET))).json
        shown = (await relay.ask("GET", "/relay/health", headers=given)).json

    assert [each["path"] for each in whole["missing"]] == ["/v2/secret/name/manifests/v1"]
    assert shown == {name: whole[name] for name in ("version", "store", "ready")} | {"uptime": shown["uptime"]}


def _basic(password: str) -> dict[str, str]:
    return {"Authorization": encode_basic_auth("relay", password)}


async def test_a_client_that_leaves_before_the_answer_is_told_of(relay: Relay) -> None:
    location = await relay.open_upload()
    started = request("PATCH", location, {"Content-Length": "1000"}, b"x")
    async with connected(relay.port, started):
        await relay.taken(location, 1)
    async with asyncio.timeout(10):
        while not (found := await refused(relay)):
            pass

    assert found == [("PATCH", "/v2/app/blobs/uploads/…", 0, 1)]
    assert (await figures(relay))[
        "requests_total", labels(method="PATCH", route="/v2/{name}/blobs/uploads/{upload}", status="0")
    ] == 1


async def test_an_answer_that_breaks_off_is_told_of(relay: Relay) -> None:
    layer = noise(5_000_000)
    await relay.push_image("v1", layers=[layer])
    path = relay.data / "image-app@v1.tar.zst"
    content = bytearray(path.read_bytes())
    content[4_500_000:4_500_100] = bytes(100)
    path.write_bytes(content)

    async with running(relay.data) as later:
        digest = Digest.of(layer)
        answer = await exchange_cut(later, f"/v2/app/blobs/{digest}")
        health = (await later.ask("GET", "/relay/health")).json

    assert len(answer) < len(layer)
    (told,) = health["refused"]
    assert (told["method"], told["path"], told["status"]) == ("GET", f"/v2/app/blobs/{digest}", 0)
    assert told["message"] == f"the stored bytes of {digest} are damaged; push the image again"


async def exchange_cut(relay: Relay, path: str) -> bytes:
    async with connected(relay.port, request("GET", path)) as (reader, _), asyncio.timeout(10):
        received = b""
        while chunk := await reader.read(65536):
            received += chunk
        return received


@pytest.mark.parametrize("path", ["/v2/app/manifests/%0A::error::x", "/%1B[2J%23%23[group]x", "/v2/a|b`c/tags/list"])
async def test_what_was_asked_is_harmless_where_it_is_told(relay: Relay, path: str) -> None:
    await exchange(relay.port, request("PUT", path, {"Origin": "x"}, b"{}"))

    health = (await relay.ask("GET", "/relay/health")).body.decode()
    summary = (await relay.ask("GET", "/relay/summary")).body.decode()

    for told in (json.loads(health)["refused"][0]["path"], *summary.splitlines()):
        assert told.isprintable()
        assert "##[" not in told
        assert not told.lstrip().startswith("::")
    (row,) = [line for line in summary.splitlines() if line.startswith("| `")]
    assert row.count("|") == 5


# The log


async def test_a_push_and_a_pull_are_lines_of_the_log(relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "proxy.reporting.event_log")
    pushed = await relay.push_image("v1", layers=[noise(3_000_000)])
    await pull(relay, "v1")
    relay.services.pulls.end()

    lines = [record.getMessage() for record in caplog.records if record.name == "proxy.reporting.event_log"]

    short = str(pushed.digest)[:19]
    pace = r"in \d+\.\d\d s(?: \(\d+\.\d [KMG]iB/s\))?"  # of an instant there is no rate
    for line, expected in zip(
        lines,
        [
            rf"accepted app:v1: 2\.9 MiB {pace}, {short}",
            rf"stored app:v1: 2\.9 MiB {pace} as image-app@v1, {short}",
            rf"pulled app:v1: 2\.9 MiB with 1 blob {pace}, {short}",
        ],
        strict=True,
    ):
        assert re.fullmatch(expected, line), line
    fields = json.loads(JsonLines().format(caplog.records[-1]))
    assert (fields["event"], fields["reference"], fields["digest"]) == ("pulled", "app:v1", str(pushed.digest))
    assert fields["blobs"] == 1


async def test_a_pull_is_over_when_nothing_more_is_asked(relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "proxy.reporting.event_log")
    await relay.push_image("v1")
    await pull(relay, "v1")

    async with asyncio.timeout(20):
        while "pulled app:v1" not in caplog.text:  # noqa: ASYNC110 - the log sets no event
            await asyncio.sleep(0.05)


async def test_pulls_that_are_open_at_the_end_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "proxy.reporting.event_log")
    async with running(tmp_path) as relay:
        await relay.push_image("v1")
        await pull(relay, "v1")

    assert "pulled app:v1" in caplog.text


async def test_tarballs_in_and_out_are_pushes_and_pulls(relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "proxy.reporting.event_log")
    image = sample(noise(2_000_000, 1))
    taken = await relay.ask("PUT", "/relay/images/app:v1", data=tarballs.oci_save(image, "app:v1"))
    handed = await relay.ask("GET", "/relay/images/app:v1?compression=none")

    assert (taken.status, handed.status) == (201, 200)
    received, accepted, stored, pulled = [
        record for record in caplog.records if record.name == "proxy.reporting.event_log"
    ]
    assert received.getMessage().startswith("received a tarball: ")
    assert accepted.getMessage().startswith("accepted app:v1: ")
    assert "sent now" not in accepted.getMessage()
    assert stored.getMessage().startswith("stored app:v1: ")
    fields = json.loads(JsonLines().format(pulled))
    assert (fields["event"], fields["reference"], fields["digest"]) == (
        "pulled",
        "app:v1",
        taken.json["images"][0]["digest"],
    )
    assert fields["size"] == taken.json["images"][0]["size"]
    written = (await relay.ask("GET", "/relay/summary")).body.decode()
    assert "stored in" in written
    assert "pulled in" in written


async def test_a_refusal_is_a_line_with_fields_too(relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "proxy.api.errors")
    await relay.ask("PUT", "/v2/app/manifests/v1", data=b"{}", headers={"Origin": "http://page"})

    (record,) = caplog.records
    fields = json.loads(JsonLines().format(record))

    assert (
        fields["message"]
        == "PUT /v2/app/manifests/v1: 403 DENIED: requests from web pages (with an Origin header) are refused"
    )
    assert {key: fields[key] for key in ("event", "method", "path", "status", "code", "reason")} == {
        "event": "refused",
        "method": "PUT",
        "path": "/v2/app/manifests/v1",
        "status": 403,
        "code": "DENIED",
        "reason": "requests from web pages (with an Origin header) are refused",
    }
