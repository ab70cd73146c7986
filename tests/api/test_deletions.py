"""`DELETE /relay/images`: of one image, of all, of what was replaced."""

from collections.abc import Awaitable, Callable

import pytest

from tests import command_line
from tests.api.relay import Relay

Command = Callable[..., Awaitable[tuple[int, list[str], str]]]


@pytest.fixture
def command(relay: Relay, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command against the relay; gives its status, the lines that it printed, and its complaint."""

    async def at_relay(*arguments: str) -> tuple[int, list[str], str]:
        status = await command_line.command(*arguments, "--port", str(relay.port))
        said = capsys.readouterr()
        return status, said.out.splitlines(), said.err

    return at_relay


async def test_an_image_is_deleted_by_the_name_that_people_know_it_by(relay: Relay) -> None:
    await relay.push_image("v1", "latest")

    removed = await relay.ask("DELETE", f"/relay/images/localhost:{relay.port}/app")

    (gone,), kept = removed.json["removed"], removed.json["kept"]
    assert (gone.pop("stored") > 0, gone, kept) == (
        True,
        {"reference": "app:latest", "artifact": "image-app@latest"},
        [],
    )
    assert relay.artifacts() == ["image-app@v1.tar.zst"]


async def test_of_a_tag_with_a_digest_no_other_tag_is_deleted(relay: Relay, command: Command) -> None:
    pushed = await relay.push_image("v1", "latest")
    other = await relay.push_image("v2", layers=[b"other"])

    assert await command("delete", f"app:v1@{other.digest}") == (
        1,
        [],
        f"image-relay: app:v1 is {pushed.digest}, which was not deleted\n",
    )
    status, lines, _ = await command("delete", f"app:v1@{pushed.digest}")

    assert (status, [line.partition(" (")[0] for line in lines]) == (0, ["deleted app:v1"])
    assert relay.artifacts() == ["image-app@latest.tar.zst", "image-app@v2.tar.zst"]


async def test_a_digest_takes_every_tag_of_it_along(relay: Relay) -> None:
    pushed = await relay.push_image("v1", "latest")

    assert (await relay.ask("DELETE", f"/relay/images/app@{pushed.digest}")).status == 200

    assert relay.artifacts() == []


async def test_a_dry_run_of_one_image_says_whether_it_is_there(relay: Relay) -> None:
    await relay.push_image("v1")

    there = await relay.ask("DELETE", "/relay/images/app:v1?dry-run")
    absent = await relay.ask("DELETE", "/relay/images/app:v2?dry-run")

    assert [each["reference"] for each in there.json["removed"]] == ["app:v1"]
    assert absent.error == (404, "MANIFEST_UNKNOWN")
    assert absent.message == "app:v2 is not here (there is: app:v1); another tag, or not pushed yet?"
    assert relay.artifacts() == ["image-app@v1.tar.zst"]


async def test_everything_goes_only_if_that_is_said(relay: Relay) -> None:
    await relay.push_image("v1")
    (relay.data / "mine.tar.zst").write_bytes(b"mine")

    refused = await relay.ask("DELETE", "/relay/images")
    assert refused.error == (405, "UNSUPPORTED")
    assert "?all" in refused.message
    star = await relay.ask("DELETE", "/relay/images/*")
    assert star.error == (400, "NAME_INVALID")
    assert "?all" in star.message
    assert relay.artifacts() == ["image-app@v1.tar.zst", "mine.tar.zst"]

    done = await relay.ask("DELETE", "/relay/images?all")
    assert [each["reference"] for each in done.json["removed"]] == ["app:v1"]
    assert relay.artifacts() == ["mine.tar.zst"]


@pytest.mark.parametrize("image", ["app:", "app@sha256:1", "App:v1", "app:v1:v2"])
async def test_what_is_no_reference_is_refused(relay: Relay, image: str) -> None:
    answer = await relay.ask("DELETE", f"/relay/images/{image}")

    assert answer.status == 400
    assert answer.message


# The commands


@pytest.mark.parametrize("pending", [True, False])
async def test_a_dry_run_tells_of_a_digest_what_a_deletion_does(relay: Relay, pending: bool) -> None:
    image = await relay.push_image(*([] if pending else ["v1", "v2"]))
    path = f"/relay/images/app@{image.digest}"
    expected = [(f"app@{image.digest}", "")] if pending else [("app:v1", "image-app@v1"), ("app:v2", "image-app@v2")]

    for query in ("?dry-run", "?dry-run", ""):
        answer = await relay.ask("DELETE", path + query)
        assert sorted((each["reference"], each["artifact"]) for each in answer.json["removed"]) == expected
    for query in ("?dry-run", ""):
        assert (await relay.ask("DELETE", path + query)).error == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("option", [(), ("--dry-run",)])
async def test_all_images_that_are_there_are_deleted(relay: Relay, command: Command, option: tuple[str, ...]) -> None:
    await relay.push_image("v1", "v2", "v3")

    status, lines, complaint = await command("delete", "app:v1", "app:v0", "app:v2", "app:v1", "app:v9", *option)

    verb = "would delete" if option else "deleted"
    assert (status, [line.partition(" (")[0] for line in lines]) == (1, [f"{verb} app:v1", f"{verb} app:v2"])
    assert [line.partition(" (")[0] for line in complaint.splitlines()] == [
        "image-relay: app:v0 is not here",
        "image-relay: app:v9 is not here",
    ]
    there = ["image-app@v1.tar.zst", "image-app@v2.tar.zst", "image-app@v3.tar.zst"]
    assert relay.artifacts() == (there if option else there[2:])


async def test_everything_is_deleted_after_a_look_at_what_that_is(relay: Relay, command: Command) -> None:
    await relay.push_image("v1")
    await relay.push_image("ci", name="web")

    status, lines, _ = await command("delete", "--all", "--dry-run")
    assert status == 0
    assert [line.partition(" (")[0] for line in lines] == ["would delete app:v1", "would delete web:ci"]
    assert len(relay.artifacts()) == 2

    status, lines, _ = await command("delete", "--all")
    assert status == 0
    assert [line.partition(" (")[0] for line in lines] == ["deleted app:v1", "deleted web:ci"]
    assert relay.artifacts() == []
    assert await command("delete", "--all") == (0, ["nothing to delete"], "")


async def test_what_a_tag_contains_is_pruned(relay: Relay, command: Command) -> None:
    pushed = await relay.push_image()
    assert (await relay.flush()).status == 200
    await relay.push(pushed, "v1")

    status, lines, _ = await command("prune")

    assert status == 0
    assert [line.partition(" (")[0] for line in lines] == [f"deleted app@{pushed.digest}"]
    assert relay.artifacts() == ["image-app@v1.tar.zst"]


@pytest.mark.parametrize("arguments", [(), ("app:v1", "--all")])
async def test_which_images_has_to_be_said_in_one_way(
    relay: Relay, command: Command, arguments: tuple[str, ...]
) -> None:
    status, _, complaint = await command("delete", *arguments)

    assert status == 2
    assert "name the images to delete, or use --all, but not both" in complaint


@pytest.mark.parametrize(
    ("method", "path", "flag"),
    [
        ("DELETE", "/relay/images?superseded=true&all=false", "all"),
        ("DELETE", "/relay/images?all=no", "all"),
        ("DELETE", "/relay/images?all&dry-run=false", "dry-run"),
        ("DELETE", "/relay/images?superseded=0", "superseded"),
        ("DELETE", "/relay/images?all&all=false", "all"),
        ("DELETE", "/relay/images/app:v1?dry-run=false", "dry-run"),
        ("GET", "/relay/images/app:v1?loadable=false", "loadable"),
        ("GET", "/relay/images/app:v1?own=false", "own"),
        ("PUT", "/relay/images/app:v1?progress=false", "progress"),
    ],
)
async def test_a_parameter_without_a_value_takes_none(relay: Relay, method: str, path: str, flag: str) -> None:
    await relay.push_image("v1")

    answer = await relay.ask(method, path)

    assert answer.error == (400, "UNSUPPORTED")
    assert answer.message.startswith(f"?{flag} takes no value, not ")
    assert relay.artifacts() == ["image-app@v1.tar.zst"]


async def test_all_and_what_was_replaced_do_not_go_together(relay: Relay) -> None:
    await relay.push_image("v1")

    answer = await relay.ask("DELETE", "/relay/images?all&superseded")

    assert answer.error == (400, "UNSUPPORTED")
    assert relay.artifacts() == ["image-app@v1.tar.zst"]


@pytest.mark.parametrize("value", ["", "=", "=1", "=true", "=True"])
async def test_what_some_clients_write_for_no_value_is_none(relay: Relay, value: str) -> None:
    await relay.push_image("v1")

    assert (await relay.ask("DELETE", f"/relay/images?all{value}&dry-run{value}")).status == 200
    assert relay.artifacts() == ["image-app@v1.tar.zst"]
    assert (await relay.ask("GET", f"/relay/images/app:v1?loadable{value}&own{value}")).status == 200
    assert (await relay.ask("DELETE", f"/relay/images?all{value}")).status == 200
    assert relay.artifacts() == []
