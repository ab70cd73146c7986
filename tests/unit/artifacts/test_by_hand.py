"""Commands that people copy into a shell."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.artifacts.by_hand import FileByHand, out_of_folder, out_of_run
from proxy.oci.names import Name
from proxy.reporting.copyable import ContentKind, load_commands


def test_an_artifact_is_downloaded_out_of_a_run_and_is_there_in_a_folder() -> None:
    assert out_of_run("image-app@v1", "7", "octo/relay") == FileByHand(
        "image-app@v1.tar.zst", "gh run download 7 -R octo/relay -n image-app@v1"
    )
    assert out_of_folder("image-app@v1", Path("/data")) == FileByHand("/data/image-app@v1.tar.zst")


@pytest.mark.parametrize("repository", ["", "octo", "octo/relay;x", "octo/relay/.."])
def test_a_repository_that_is_none_is_left_out(repository: str) -> None:
    file = out_of_run("image-app@v1", "7", repository)
    assert file
    assert " -R " not in file.download


@pytest.mark.parametrize("run_id", ["", "x", "7;x", "٣"])
def test_without_a_run_there_is_no_command(run_id: str) -> None:
    assert out_of_run("image-app@v1", run_id, "octo/relay") is None


@given(st.text(min_size=1), st.text(st.characters(exclude_characters="\0"), min_size=1))
def test_nothing_in_a_name_is_read_by_the_shell(artifact: str, folder: str) -> None:
    file = out_of_run(artifact, "7", "octo/relay")
    assert file
    assert shlex.split(file.download) == ["gh", "run", "download", "7", "-R", "octo/relay", "-n", artifact]
    command = load_commands(ContentKind.IMAGE, out_of_folder("a", Path("/") / folder), Name("a"), "sha256:0")[-1]
    assert shlex.split(command) == ["docker", "load", "-i", f"{Path('/') / folder / 'a'}.tar.zst"]
