"""What a relay over the artifacts of a run tells of itself: calls, retries, the cache, its session, the summary."""

import json
import logging

import pytest

from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_MANIFEST
from tests.actions_store.relays import Relays, blob_of, pulled
from tests.actions_store.test_external_artifacts import IMAGE, SAVED, stored
from tests.api.relay import MIB, Relay, eventually
from tests.api.test_access_log import figures, labels
from tests.api.test_images import image_of
from tests.fakes.actions import kinds
from tests.fakes.actions.faults import edge_page
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.registry_harness import noise
from tests.tarballs import zipped

LAYER = noise(5 * MIB)


def calls(service: str, method: str, outcome: str = "ok") -> tuple[str, frozenset[tuple[str, str]]]:
    return "call_seconds_count", labels(service=service, method=method, outcome=outcome)


async def summary(relay: Relay) -> str:
    return (await relay.ask("GET", "/relay/summary")).body.decode()


@pytest.mark.parametrize("flavour", Flavour)
async def test_the_size_that_is_told_is_that_of_the_archive_whatever_a_server_lists(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    actions = emulate(flavour=flavour)
    pushed = await (await relays.start(actions)).push_image("v1", layers=[LAYER])
    reader = await relays.start(actions, actions.job("deploy"))
    await reader.get("v1", "app")

    (row,) = (await reader.ask("GET", "/relay/images")).json["images"]

    assert row["digest"] == str(pushed.digest)
    assert len(LAYER) < row["stored"] < 1.01 * len(LAYER)


async def test_calls_are_counted_by_what_they_are_and_how_they_ended(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    builder = await relays.start(actions)
    actions.plan.play(kinds.PUT_BLOCK, edge_page(503))
    actions.plan.play(kinds.CREATE, edge_page(502))
    await builder.push_image("v1", layers=[LAYER])

    written = await figures(builder)

    assert written[calls("artifacts", "CreateArtifact")] == written[calls("artifacts", "CreateArtifact", "5xx")] == 1
    assert written[calls("artifacts", "FinalizeArtifact")] == 1
    assert written[calls("storage", "PutBlock")] == 2
    assert written[calls("storage", "PutBlock", "5xx")] == written[calls("storage", "PutBlockList")] == 1
    assert written["retries_total", labels(service="storage")] == 1
    assert written["retries_total", labels(service="artifacts")] == 1
    assert written["call_bytes_total", labels(service="storage", direction="sent")] > 2 * len(LAYER) - 4 * MIB
    assert written["session_expires_timestamp_seconds", labels()] > 1.7e9

    reader = await relays.start(actions, actions.job("deploy"))
    await pulled(reader, "v1")
    await eventually(lambda: reader.files("uploads") == [])
    await blob_of(reader, Digest.of(LAYER))
    read = await figures(reader)

    assert read[calls("artifacts", "GetSignedArtifactURL")] == 1
    assert read[calls("storage", "GetRange")] >= 2
    assert len(LAYER) < read["call_bytes_total", labels(service="storage", direction="received")] < 1.2 * len(LAYER)
    assert read["remote_blobs_total", labels(result="miss")] == 2
    assert read["remote_blobs_total", labels(result="hit")] >= 1
    assert len(LAYER) < read["spool_bytes", labels()] < 1.1 * len(LAYER)


async def test_the_summary_of_two_jobs(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    builder = await relays.start(actions)
    await builder.push_image("v1", layers=[LAYER])
    reader = await relays.start(actions, actions.job("deploy"))
    await pulled(reader, "v1")

    written, read = await summary(builder), await summary(reader)

    load = "gh run download 1001 -R octo/relay -n image-app@v1\ndocker load -i image-app@v1.tar.zst\n"
    for told, result in ((written, "1 image pushed"), (read, "1 image pulled")):
        assert told.startswith(f"### image-relay: {result}\n")
        assert "\nIn a later job of this run:\n\n```sh\ndocker pull localhost:" in told
        assert f"\nOn your machine:\n\n```sh\n{load}" in told
    assert " UTC |" in written  # when it expires, which only who stored it knows
    assert " UTC |" not in read


async def test_a_chart_is_fetched_by_helm_and_other_artifacts_by_oras(emulate: Emulate, relays: Relays) -> None:
    relay = await relays.start(emulate())
    for name, config in (("charts/app", "application/vnd.cncf.helm.config.v1+json"), ("sbom", "application/x.empty")):
        digest = await relay.push_blob(b"{}", name)
        described = {"mediaType": config, "digest": str(digest), "size": 2}
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": []}
        assert (await relay.put("1.0.0", json.dumps(manifest).encode(), name=name)).status == 201

    written = await summary(relay)

    host = f"localhost:{relay.port}"
    assert f"\nhelm pull oci://{host}/charts/app --version 1.0.0 --plain-http\n" in written
    assert f"\noras pull --plain-http {host}/sbom:1.0.0\n" in written
    assert "\nzstd -d -o sbom.tar image-sbom@1.0.0.tar.zst\noras pull --oci-layout sbom.tar@sha256:" in written
    assert "docker" not in written


@pytest.mark.parametrize("flavour", Flavour)
async def test_the_summary_tells_how_much_all_artifacts_of_the_run_have(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    actions = emulate(flavour=flavour)
    builder = await relays.start(actions)
    for number, tags in enumerate((["v1", "v2"], ["v1"])):
        await builder.push_image(*tags, layers=[noise(MIB, number)])
    await stored(actions, "myimage", zipped({"myimage.tar": SAVED}))  # of somebody else

    told = await summary(builder)

    assert "\n3.0 MiB are kept in artifacts of this run: 3 images, with those that were replaced. So far " in told


async def test_a_bare_archive_has_no_command_that_would_not_unpack_it(emulate: Emulate, relays: Relays) -> None:
    relay = await relays.start(emulate(), artifact_format="raw")
    await relay.push_image("v1")

    written = await summary(relay)

    assert f"docker pull localhost:{relay.port}/app:v1" in written
    assert "gh run download" not in written


async def test_a_summary_is_written_when_the_service_answers_no_more(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    await relay.push_image("v1")
    await relay.push_image(layers=[b"pending"])
    actions.plan.play(kinds.LIST, edge_page(503), times=None)
    actions.plan.play(kinds.CREATE, edge_page(503), times=None)

    assert (await relay.flush()).status == 503
    relay.services.pulls.end()
    relay.services.lookup.catalog.forget_listing()
    written = await summary(relay)

    assert "| `app:v1` | `sha256:" in written
    assert "are kept" not in written
    assert "`: `the artifact service failed (" in written


async def test_each_call_is_a_line_for_who_wants_to_know(
    emulate: Emulate, relays: Relays, caplog: pytest.LogCaptureFixture
) -> None:
    relay = await relays.start(emulate())
    await relay.push_image("v1")

    lines = [
        record
        for record in caplog.records
        if record.name == "proxy.reporting.event_log" and record.levelno == logging.DEBUG
    ]

    methods = {record.getMessage().partition(":")[0] for record in lines}
    assert {"artifacts CreateArtifact", "storage PutBlock", "storage PutBlockList"} <= methods


async def test_what_others_stored_is_told_of_when_it_is_pulled(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "myimage", zipped({"myimage.tar": SAVED}))
    relay = await relays.start(actions, actions.job("test"))
    assert await image_of(relay, "latest", "myimage") == IMAGE

    written = await summary(relay)

    (row,) = [line for line in written.splitlines() if line.startswith("| `myimage:latest`")]
    assert "| pulled in " in row
    assert written.startswith("### image-relay: 1 image pulled\n")
    assert f"docker pull localhost:{relay.port}/myimage:latest\n# sha256:" in written
    assert "are kept" not in written  # by a relay
