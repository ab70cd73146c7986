"""`image-relay save`, `load` and `wait`, between real engines and a relay; started as `main` starts them."""

import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from proxy.__main__ import main
from tests.e2e.clients import Toolbox
from tests.e2e.engines import Engine
from tests.e2e.images import CONFIG, MANIFEST, dockerfile, several_layers
from tests.e2e.impatient import ImpatientClient
from tests.e2e.push_pull_clients import CLIENTS
from tests.e2e.relay import Relay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(params=["docker20", "docker28", "docker28_graph"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine that the command finds as the docker command would."""
    engine: Engine = request.getfixturevalue(request.param)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.socket}")
    yield engine
    images = engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    if named := [each for each in images if "<none>" not in each]:
        engine.docker("image", "rm", "--force", *named)


def call(relay: Relay, *arguments: str) -> None:
    main([*arguments, "--host", "127.0.0.1", "--port", str(relay.port)])


def failed(capsys: pytest.CaptureFixture[str], relay: Relay, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        call(relay, *arguments)
    assert ended.value.code == 1
    return capsys.readouterr().err.removeprefix("image-relay: ").strip()


def test_an_image_goes_from_engine_to_relay_and_back(
    engine: Engine, relay: Relay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = {tag: secrets.token_hex(8) for tag in ("v1", "v2")}
    for tag, token in tokens.items():
        engine.docker("build", "--quiet", "--tag", f"localhost:5000/app:{tag}", str(dockerfile(tmp_path / tag, token)))

    call(relay, "save", *(f"localhost:5000/app:{tag}" for tag in tokens))
    saved = capsys.readouterr().out.splitlines()
    engine.docker("image", "rm", "--force", *(f"localhost:5000/app:{tag}" for tag in tokens))
    call(relay, "load", "app:v1", "app:v2")

    assert [line.partition(": ")[0] for line in saved] == [f"app:{tag} {relay.digest('app', tag)}" for tag in tokens]
    assert "Loaded image: app:v1" in capsys.readouterr().out
    assert {tag: engine.run(f"app:{tag}") for tag in tokens} == tokens


def test_what_the_engine_does_not_have_is_told(
    engine: Engine, relay: Relay, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failed(capsys, relay, "save", "nothing:v1").startswith("the container engine says: ")
    assert failed(capsys, relay, "load", "nothing:v1").startswith("nothing:v1 is not here")


@pytest.mark.parametrize(
    ("types", "reason"),
    [
        ((None,), "it has no config"),
        (("application/vnd.cncf.helm.config.v1+json",), "config type application/vnd.cncf.helm.config.v1+json"),
        (("application/octet-stream",), "config type application/octet-stream"),
        ((CONFIG, "application/vnd.dev.cosign.simplesigning.v1+json"), "layer type application/vnd.dev.cosign."),
        ((CONFIG, "application/vnd.oci.image.layer.nondistributable.v1.tar"), "a layer of it is not here"),
    ],
)
@pytest.mark.parametrize("engine", ["docker28"], indirect=True)  # the relay refuses, whatever would load it
def test_what_no_engine_can_load_is_refused_and_can_be_had_as_a_file(
    types: Sequence[str | None],
    reason: str,
    engine: Engine,
    relay: Relay,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, *layers = types
    client = ImpatientClient(relay, "chart")
    foreign = {"digest": f"sha256:{'0' * 64}", "size": 1, "urls": ["https://example.org/layer"]}
    document: dict[str, object] = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example"}
    document["layers"] = [
        {"mediaType": each} | (foreign if "nondist" in str(each) else client.push([b"x"], str(each))) for each in layers
    ]
    if config:
        document["config"] = client.push([b"{}"], config)
    body = json.dumps(document).encode()
    assert relay.request("PUT", "/v2/chart/manifests/v1", {"Content-Type": MANIFEST}, body)[0] == 201

    said = failed(capsys, relay, "load", "chart:v1")
    call(relay, "load", "chart:v1", "--file", str(tmp_path / "chart.tar"))

    assert said.startswith(f"chart:v1 is not an image that an engine can load ({reason}")
    assert (tmp_path / "chart.tar").stat().st_size > 0
    assert engine.docker("image", "ls", "--quiet", "chart") == ""


def test_without_an_engine_that_is_told(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")

    said = failed(capsys, relay, "save", "app:v1")

    assert said == f"no container engine answers (DOCKER_HOST: unix://{tmp_path}/none.sock): start it, or use --file"


def test_a_folder_is_no_tarball_and_the_message_makes_one_of_it(
    relay: Relay, toolbox: Toolbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = several_layers(tmp_path / "image").layout
    said = failed(capsys, relay, "save", "app:v1", "--file", str(folder))
    assert said == f"{folder} is a folder; an OCI layout goes as tar -C FOLDER -c . | image-relay save --file - NAME"

    made = tmp_path / "made.tar"
    subprocess.run(["tar", "-C", str(folder), "-cf", str(made), "."], check=True)
    call(relay, "save", "app:v1", "--file", str(made))


def test_files_take_the_place_of_an_engine(
    relay: Relay, toolbox: Toolbox, docker28: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = several_layers(tmp_path / "image")
    CLIENTS["crane"].push(toolbox, image, f"{relay.host}/app:v1")
    for ending in ("tar", "tar.gz", "tar.zst"):
        file = tmp_path / f"image.{ending}"
        call(relay, "load", "app:v1", "--file", str(file))
        assert re.fullmatch(rf"app:v1: [\d.]+ \w+ in {file}\n", capsys.readouterr().out)
        call(relay, "save", f"copy:{ending}", "--file", str(file))
        assert capsys.readouterr().out.startswith(f"copy:{ending} {image.digest}: ")
        docker28.docker("load", "--input", str(file))
        assert docker28.run("app:v1") == image.token
        assert relay.digest("copy", ending) == image.digest
    call(relay, "save", "--file", str(tmp_path / "image.tar"))

    assert capsys.readouterr().out.splitlines()[-1].startswith(f"app:v1 {image.digest}: ")
    assert list(tmp_path.glob("*.part")) == []
    docker28.docker("image", "rm", "--force", "app:v1")


def test_wait_ends_when_the_image_comes(
    relay: Relay, toolbox: Toolbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = several_layers(tmp_path / "image")
    waiting = threading.Thread(target=call, args=(relay, "wait", "app:v1", "--timeout", "60"))
    waiting.start()
    end, said = time.monotonic() + 30, ""
    while "waiting for app:v1: app:v1 is not here" not in said:
        assert time.monotonic() < end, said
        time.sleep(0.05)
        said += capsys.readouterr().err

    CLIENTS["crane"].push(toolbox, image, f"{relay.host}/app:v1")
    waiting.join()

    assert capsys.readouterr().out.splitlines()[-1] == "app:v1 is there"


def test_wait_says_why_it_gives_up(relay: Relay, capsys: pytest.CaptureFixture[str]) -> None:
    assert failed(capsys, relay, "wait", "app:v1", "--timeout", "0").startswith(
        "app:v1 did not appear within 0 seconds: app:v1 is not here"
    )
    with pytest.raises(SystemExit) as ended:
        call(relay, "wait", "App", "--timeout", "60")
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("image-relay: not a repository name: 'App'")


def test_an_image_that_is_damaged_is_never_written_whole(
    relay: Relay, toolbox: Toolbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CLIENTS["crane"].push(toolbox, several_layers(tmp_path / "image"), f"{relay.host}/app:v1")
    file = relay.archive_of("app")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    relay.kill()
    relay.start()

    said = failed(capsys, relay, "load", "app:v1", "--file", str(tmp_path / "out.tar"))

    assert "broke off" in said or "damaged" in said
    assert list(tmp_path.glob("out.tar*")) == []


def test_a_file_that_is_there_is_replaced_only_if_that_is_said(
    relay: Relay, toolbox: Toolbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CLIENTS["crane"].push(toolbox, several_layers(tmp_path / "image"), f"{relay.host}/app:v1")
    mine, empty = tmp_path / "mine.tar", tmp_path / "empty.tar"
    mine.write_bytes(b"precious")
    empty.touch()  # by mktemp

    said = failed(capsys, relay, "load", "app:v1", "--file", str(mine))
    assert said == (
        f"{mine} is there, and load --file writes a file (save --file sends one); to replace it, add --force"
    )
    assert mine.read_bytes() == b"precious"
    call(relay, "load", "app:v1", "--file", str(empty))
    call(relay, "load", "app:v1", "--file", str(mine), "--force")

    assert mine.read_bytes() == empty.read_bytes() != b""


def test_which_of_the_two_commands_takes_a_file_is_said(
    relay: Relay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.tar"
    said = failed(capsys, relay, "save", "app:v1", "--file", str(file))
    assert said == f"there is no {file}; save --file sends a tarball, and load --file writes one"

    said = failed(capsys, relay, "load", "app:v1", "--file", f"{file}.XZ")
    assert said == "cannot write .xz; use .tar.zst, .tar.gz, or .tar for no compression"
    assert list(tmp_path.glob("out*")) == []


def test_a_link_and_a_pipe_stay_what_they_are(
    relay: Relay, toolbox: Toolbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CLIENTS["crane"].push(toolbox, several_layers(tmp_path / "image"), f"{relay.host}/app:v1")
    link, target, pipe = (tmp_path / name for name in ("link.tar", "target.tar", "pipe.tar"))
    target.write_bytes(b"before")
    link.symlink_to(target)
    os.mkfifo(pipe)

    call(relay, "load", "app:v1", "--file", str(link), "--force")
    with (tmp_path / "came.tar").open("wb") as came, subprocess.Popen(["cat", str(pipe)], stdout=came) as reading:
        call(relay, "load", "app:v1", "--file", str(pipe))
        reading.wait(20)

    assert link.is_symlink()
    assert pipe.is_fifo()
    assert (tmp_path / "came.tar").read_bytes() == target.read_bytes() != b"before"


def test_standard_input_and_output_are_files_too(relay: Relay, tmp_path: Path, toolbox: Toolbox) -> None:
    image = several_layers(tmp_path / "image")
    CLIENTS["crane"].push(toolbox, image, f"{relay.host}/app:v1")
    relay_command = [sys.executable, "-m", "proxy"]
    port = ["--port", str(relay.port)]

    with subprocess.Popen([*relay_command, "load", "app:v1", "--file", "-", *port], stdout=subprocess.PIPE) as loading:
        saving = [*relay_command, "save", "piped:v1", "--file", "-", *port]
        said = subprocess.run(saving, stdin=loading.stdout, capture_output=True, check=True, text=True).stdout

    assert said.startswith(f"piped:v1 {image.digest}: ")
