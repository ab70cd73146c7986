"""GitHub's own client against the emulator of GitHub's service."""

import hashlib
import os
from pathlib import Path

import pytest

from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import no_storage_left, twirp_error
from tests.fakes.actions.fixtures import Emulate, require_tools
from tests.fakes.actions.official import OfficialClient, OfficialError
from tests.fakes.actions.rest import WRITE_TOKEN

pytestmark = pytest.mark.timeout(120)  # Node starts slowly, and the client waits 3 s before it tries again


@pytest.fixture
def actions(emulate: Emulate) -> Emulator:
    return emulate(check_digest=True, whole_read_limit=None)


def client_of(actions: Emulator, folder: Path, job: str = "build") -> OfficialClient:
    return OfficialClient(require_tools(), actions.environment(actions.job(job)), folder)


def a_file(folder: Path, name: str, size: int) -> Path:
    path = folder / name
    path.write_bytes(os.urandom(size))
    return path


def test_a_zip_goes_up_in_one_job_and_comes_down_in_another(actions: Emulator, tmp_path: Path) -> None:
    source = a_file(tmp_path, "some.txt", 1000)

    made = client_of(actions, tmp_path).upload("zipped", [source])

    reader = client_of(actions, tmp_path, "test")
    found = reader.get("zipped")
    assert (found["id"], found["digest"]) == (made["id"], f"sha256:{made['digest']}")
    got = reader.download(made["id"], tmp_path / "got", found["digest"])
    assert not got["digestMismatch"]
    assert (tmp_path / "got" / "some.txt").read_bytes() == source.read_bytes()
    assert actions.traffic.calls["put_block"] == 1


def test_a_raw_file_of_several_blocks_keeps_its_bytes_and_its_name(actions: Emulator, tmp_path: Path) -> None:
    source = a_file(tmp_path, "image.tar.gz", 20 * 1024 * 1024)
    client = client_of(actions, tmp_path)

    made = client.upload("ignored", [source], raw=True)

    assert made["digest"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert actions.traffic.calls["put_block"] == 3
    assert actions.traffic.received["put_block"] == source.stat().st_size
    listed = [(artifact["name"], artifact["size"]) for artifact in client.list()]
    assert listed == [("image.tar.gz", source.stat().st_size)]
    assert not client.download(made["id"], tmp_path / "got", f"sha256:{made['digest']}")["digestMismatch"]
    assert (tmp_path / "got" / "image.tar.gz").read_bytes() == source.read_bytes()


def test_a_deleted_artifact_is_gone_and_its_name_free(actions: Emulator, tmp_path: Path) -> None:
    source = a_file(tmp_path, "file", 10)
    client = client_of(actions, tmp_path)
    first = client.upload("twice", [source])

    assert client.delete("twice")["id"] == first["id"]

    assert client.list() == []
    with pytest.raises(OfficialError) as missing:
        client.get("twice")
    assert missing.value.name == "ArtifactNotFoundError"
    assert client.upload("twice", [source])["id"] > first["id"]


def test_a_taken_name_is_refused_in_the_words_it_knows(actions: Emulator, tmp_path: Path) -> None:
    client = client_of(actions, tmp_path)
    client.upload("taken", [a_file(tmp_path, "file", 10)])

    with pytest.raises(OfficialError, match="an artifact with this name already exists on the workflow run"):
        client.upload("taken", [tmp_path / "file"])


def test_no_storage_left_is_the_error_it_never_retries(actions: Emulator, tmp_path: Path) -> None:
    actions.plan.play("CreateArtifact", no_storage_left())

    with pytest.raises(OfficialError, match="Artifact storage quota has been hit"):
        client_of(actions, tmp_path).upload("name", [a_file(tmp_path, "file", 10)])

    assert actions.traffic.calls["CreateArtifact"] == 1


def test_it_tries_again_after_an_internal_error(actions: Emulator, tmp_path: Path) -> None:
    actions.plan.play("ListArtifacts", twirp_error(500, "internal", "try again"))

    assert client_of(actions, tmp_path).list() == []

    assert actions.traffic.calls["ListArtifacts"] == 2


def test_another_run_is_read_and_deleted_through_rest(actions: Emulator, tmp_path: Path) -> None:
    source = a_file(tmp_path, "file", 1000)
    made = client_of(actions, tmp_path).upload("mine", [source])
    elsewhere = OfficialClient(require_tools(), actions.environment(actions.job(run=2)), tmp_path)
    owner, _, name = actions.options.repository.partition("/")
    origin = {"token": WRITE_TOKEN, "workflowRunId": 1001, "repositoryOwner": owner, "repositoryName": name}

    assert elsewhere.list() == []
    assert [artifact["id"] for artifact in elsewhere.list(findBy=origin)] == [made["id"]]
    got = elsewhere.download(made["id"], tmp_path / "got", f"sha256:{made['digest']}", findBy=origin)
    elsewhere.delete("mine", findBy=origin)

    assert not got["digestMismatch"]
    assert (tmp_path / "got" / "file").read_bytes() == source.read_bytes()
    assert elsewhere.list(findBy=origin) == []
