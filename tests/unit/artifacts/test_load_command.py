"""Commands that people copy into a shell."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.artifacts.load_command import out_of_folder, out_of_run


def test_an_image_is_loaded_out_of_a_run_or_a_folder() -> None:
    assert out_of_run("image-app@v1", "7", "octo/relay") == (
        "gh run download 7 -R octo/relay -n image-app@v1 && docker load -i image-app@v1.tar.zst"
    )
    assert out_of_folder("image-app@v1", Path("/data")) == "docker load -i /data/image-app@v1.tar.zst"


@pytest.mark.parametrize("repository", ["", "octo", "octo/relay;x", "octo/relay/.."])
def test_a_repository_that_is_none_is_left_out(repository: str) -> None:
    assert " -R " not in out_of_run("image-app@v1", "7", repository)


@pytest.mark.parametrize("run_id", ["", "x", "7;x", "٣"])
def test_without_a_run_there_is_no_command(run_id: str) -> None:
    assert out_of_run("image-app@v1", run_id, "octo/relay") == ""


@given(st.text(min_size=1), st.text(st.characters(exclude_characters="\0"), min_size=1))
def test_nothing_in_a_name_is_read_by_the_shell(artifact: str, folder: str) -> None:
    words = shlex.split(out_of_run(artifact, "7", "octo/relay"))
    assert len(words) == 13
    assert (words[7], words[8], words[12]) == (artifact, "&&", f"{artifact}.tar.zst")
    assert shlex.split(out_of_folder("a", Path("/") / folder))[-1] == f"{Path('/') / folder / 'a'}.tar.zst"
