"""How images are written on the command line."""

import pytest

from proxy.__main__ import main
from proxy.commands.images import Saving, loading, read, saving, target_of
from proxy.commands.relay import CommandFailed

ID = "0a" * 32
DIGEST = f"sha256:{ID}"


@pytest.mark.parametrize(
    ("text", "local", "target"),
    [
        ("app", "app:latest", "app:latest"),
        ("docker.io/library/app:v1", "app:v1", "app:v1"),
        ("ghcr.io/team/app:pr", "ghcr.io/team/app:pr", "ghcr.io/team/app:pr"),
        ("app=[fd00::1]:5000/app", "app", "[fd00::1]:5000/app:latest"),
        (f"{ID}=app:v1", ID, "app:v1"),
        (f"{DIGEST}=app:v1", DIGEST, "app:v1"),
        (f"app@{DIGEST}=app:v1", f"app@{DIGEST}", "app:v1"),
    ],
)
def test_an_image_is_saved_under_its_name_or_another(text: str, local: str, target: str) -> None:
    assert saving(text) == Saving(local, target)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("app", "app:latest"),
        ("MyHost/app:v1", "MyHost/app:v1"),
        (f"app:v1@{DIGEST}", f"app@{DIGEST}"),
        ("app:v1=ghcr.io/team/app", "app:v1=ghcr.io/team/app:latest"),
        (f"app@{DIGEST}=app:v1", f"app@{DIGEST}=app:v1"),
    ],
)
def test_an_image_is_loaded_under_its_name_or_another(text: str, asked: str) -> None:
    assert loading(text) == asked


@pytest.mark.parametrize("text", ["", "=", "app=", "=app", "app:feature/foo", "App", "a=b=c", f"a={DIGEST}", "-o"])
def test_what_is_no_image_is_told_in_a_sentence(text: str) -> None:
    for how in (saving, loading):
        with pytest.raises(CommandFailed) as caught:
            how(text)
        assert 0 < len(str(caught.value)) <= 200


def test_an_image_is_neither_saved_nor_loaded_under_a_digest() -> None:
    for text in (f"app@{DIGEST}", f"app:v1@{DIGEST}"):
        with pytest.raises(CommandFailed, match="has a digest, and an image is stored under a tag, such as app:v1"):
            target_of(text)
        with pytest.raises(CommandFailed, match="has a digest"):
            loading(f"app={text}")


def test_an_id_is_no_name_to_save_under() -> None:
    for text in (ID, DIGEST):
        with pytest.raises(CommandFailed, match="is the id of an image; give it a name: save "):
            saving(text)
        with pytest.raises(CommandFailed, match="is the id of an image; write its name"):
            read(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["save", ""],
        ["save", "app:feature/foo"],
        ["save", "--file", "some.tar", ""],
        ["load", ""],
        ["load", "App"],
        ["load", "--file", "some.tar", "app="],
        ["wait", "app:"],
    ],
)
def test_a_name_that_is_none_ends_a_command_with_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert line.startswith("image-relay: no") or line.endswith(": is a variable empty?")
