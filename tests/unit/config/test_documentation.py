import re
import tomllib
from pathlib import Path

import pytest

from config.settings import Settings
from proxy.oci import manifest
from proxy.registry import image_import
from proxy.runtime.limits import DEFAULT
from proxy.spool import sessions, unpack
from proxy.tarballs import images, streams

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "settings.md"
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.yml")]


def test_the_page_of_settings_has_every_one_with_its_option_and_default() -> None:
    rows = re.findall(r"^\| `(RELAY_\w+)` \| `(--[\w-]+)` \| (.+?) \|", PAGE.read_text(), re.MULTILINE)

    expected = []
    for name, default in Settings().describe():
        option = "--" + name.removeprefix("RELAY_").lower().replace("_", "-")
        of_platform = "the platform's user data folder" if name == "RELAY_DATA" else None
        expected.append((name, option, of_platform or (default if default == "none" else f"`{default}`")))
    assert rows == expected


_GIB = 2**30
_BOUNDS: dict[str, list[str | int]] = {
    "a manifest": [f"{manifest.LIMIT // 2**20} MiB", manifest._PARTS],
    "uploads that are open": [DEFAULT.uploads],
    "an upload that nobody continues": [sessions._IDLE // 60],
    "free disk when an upload begins": [f"{DEFAULT.free_disk // _GIB} GiB"],
    "tarballs that are received at once": [image_import._OPEN, image_import._AT_ONCE],
    "files, images and names in a tarball": [unpack._MOST_FILES, images._MOST_IMAGES, images._MOST_NAMES],
    "what a compressed tarball expands to": [f"{streams._HARMLESS // _GIB} GiB", streams._MOST_FOLD],
    "replaced images that are still read": [DEFAULT.replaced_most],
    "a client that sends or takes nothing": [int(DEFAULT.body_stall / 60)],
}


@pytest.mark.parametrize("what", _BOUNDS)
def test_the_page_of_settings_has_the_bounds_of_the_code(what: str) -> None:
    (bound,) = re.findall(rf"^\| {what} +\| (.+?) +\|", PAGE.read_text(), re.MULTILINE)

    numbers = re.findall(r"\d+(?:,\d{3})*(?: [MG]iB)?", bound)

    assert numbers == [each if isinstance(each, str) else f"{each:,}" for each in _BOUNDS[what]]


def test_every_page_has_the_version_that_would_be_published_next() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    major = version.partition(".")[0]
    text = "".join(page.read_text() for page in PAGES)

    assert {*re.findall(r"(?:git tag |git push origin |for `)v(\d+\.\d+\.\d+)", text)} == {version}
    assert {*re.findall(r"/image-relay:(\d[^`\s]*)", text)} == {version}
    assert {*re.findall(r"/image-relay@v(\d+)|`v(\d+)` for `v", text)} == {(major, ""), ("", major)}


def test_the_account_of_the_reader_has_another_name_than_that_of_the_action() -> None:
    for page in PAGES:
        assert not re.findall(r"ghcr\.io/OWNER/(?!image-relay)\S*", page.read_text())
