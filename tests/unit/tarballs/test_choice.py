"""Which file is meant, by names and by how files begin."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.oci.names import Name
from proxy.tarballs import choice as choosing
from proxy.tarballs.choice import (
    Choice,
    FileKind,
    NotChosen,
    file_kind,
    is_litter,
    keys_of,
    names_of,
    slug,
    without_ending,
)
from tests.tarballs import COMPRESSIONS, SHAPES, sample, tar

OTHER, TARBALL, IMAGE = FileKind.OTHER, FileKind.TARBALL, FileKind.IMAGE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("My Image (amd64)", "my-image-amd64"),
        ("app+v1@2", "app-v1-2"),
        ("a__b.c", "a__b.c"),
        ("a___b.-c", "a-b-c"),
        ("._x_", "x"),
        ("ÄÖ", ""),
    ],
)
def test_a_text_as_a_part_of_a_repository_name(text: str, expected: str) -> None:
    assert slug(text) == expected


@given(st.text())
def test_whatever_is_left_of_a_text_is_a_repository_name(text: str) -> None:
    if name := slug(text)[:200].rstrip("-._"):
        Name.parse(name)


@pytest.mark.parametrize(
    ("name", "expected"), [("a.tar.gz", "a"), ("a.TGZ", "a"), ("b.cnb", "b"), ("c.d", "c.d"), ("a.tar.tar", "a.tar")]
)
def test_the_ending_of_a_tarball_is_no_part_of_its_name(name: str, expected: str) -> None:
    assert without_ending(name) == expected


@pytest.mark.parametrize(
    ("choice", "artifact", "wanted", "expected"),
    [
        (Choice(("app", "app.tar")), "x", "app", "app"),  # the exact name of a file
        (Choice(("app.tar", "old/app.tar")), "x", "app.tar", "app.tar"),  # the whole name before a part of it
        (Choice(("app.tar", "old/app.tar")), "x", "old/app", "old/app.tar"),
        (Choice(("out/My App.tar", "b.tar")), "x", "my-app", "out/My App.tar"),
        (Choice(("app+v1.tar", "app@v2.tar")), "x", "app-v2", "app@v2.tar"),
        (Choice(("a.txt", "b.tar")), "x", "a.txt", "a.txt"),  # it is refused as what it is
        (Choice(("app.tar", "web.tar")), "web", "", "web.tar"),  # then the name of the artifact
        (Choice(("My Web.tar", "a.tar")), "My Web", "", "My Web.tar"),
        (Choice(("web.html", "a.tar")), "web", "", "a.tar"),  # of a tarball
        (Choice(("a.tar", "b.txt")), "x", "", "a.tar"),  # then the only tarball
        (Choice(("a.tar", "b.txt")), "x", "not-a-file", "a.tar"),
        (Choice(("a", "b"), kinds={"a": OTHER, "b": IMAGE}), "x", "", "b"),
        (Choice(("logs.tar", "b.img"), kinds={"logs.tar": TARBALL, "b.img": IMAGE}), "x", "", "b.img"),
        (Choice(("a", "b"), kinds={"a": OTHER, "b": TARBALL}), "x", "", "b"),
        (Choice(("a.txt",), ("out/",)), "x", "", "out/"),
        (Choice((), ("amd64/", "arm64/")), "x", "arm64", "arm64/"),
        (Choice(("report.html",)), "x", "", "report.html"),
    ],
)
def test_the_rule(choice: Choice, artifact: str, wanted: str, expected: str) -> None:
    assert choice.chosen(artifact, *([wanted] if wanted else [])) == expected


@pytest.mark.parametrize(
    ("choice", "wanted", "message"),
    [
        (Choice(()), [], r"no tarball is in it \(nothing\)"),
        (Choice(("a.txt", "b.txt")), [], r"no tarball is in it \(a.txt, b.txt\)"),
        (Choice(("a.tar", "a.tar")), [], r"several tarballs are in it \(a.tar, a.tar\)"),
        (Choice(("a.tar", "b.tar")), [], r"several tarballs are in it \(a.tar, b.tar\)"),
        (Choice(("x/a.tar", "y/a.tar", "b.tar")), ["a"], r"several tarballs are in it \(x/a.tar, y/a.tar\)"),
        (Choice(("a", "b"), kinds={"a": IMAGE, "b": IMAGE}), [], r"several tarballs are in it \(a, b\)|no tarball"),
        (Choice(("a.tar",), ("out/",), {"a.tar": IMAGE}), [], r"several tarballs are in it \(out, a.tar\)"),
        (Choice(("a.txt", "b.txt"), ("/",), {}), ["c"], "^$"),
    ],
)
def test_where_the_rule_gives_none_the_names_are_told(choice: Choice, wanted: list[str], message: str) -> None:
    if message == "^$":
        assert choice.chosen("x", *wanted) == "/"
        return
    with pytest.raises(NotChosen, match=message):
        choice.chosen("x", *wanted)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_shape_begins_as_an_image_does(shape: str, compression: str) -> None:
    made = COMPRESSIONS[compression](SHAPES[shape](sample(), "app:v1"))

    assert file_kind(io.BytesIO(made)) is IMAGE


def folders() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("./", "./blobs", "./blobs/sha256"):
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
        archive.addfile(tarfile.TarInfo("./blobs/sha256/" + "0" * 64))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (folders(), IMAGE),
        (tar({"etc/passwd": b""}), TARBALL),
        (tar({"results/blobs/x": b""}), TARBALL),
        (b"", OTHER),
        (b"hello", OTHER),
        (b"PK\x03\x04" + bytes(600), OTHER),
        (COMPRESSIONS["gzip"](b"text"), OTHER),
        (COMPRESSIONS["gzip"](bytes(100_000)), OTHER),
        (COMPRESSIONS["xz"](tar({"index.json": b"{}"}))[:-20], IMAGE),
    ],
)
def test_a_file_is_judged_by_its_beginning(content: bytes, kind: FileKind) -> None:
    assert file_kind(io.BytesIO(content)) is kind


def test_no_more_of_a_file_is_read_than_it_takes_to_judge_it() -> None:
    file = io.BytesIO(tar({}) + bytes(10_000_000))

    assert file_kind(file) is OTHER
    assert file.tell() < 1_000_000


def test_what_macos_puts_beside_files_is_passed_over() -> None:
    assert [
        each for each in ("._a.tar", "x/._a.tar", "__MACOSX/a.tar", "a/.DS_Store", "a.tar") if not is_litter(each)
    ] == ["a.tar"]


@given(st.lists(st.text(max_size=20), max_size=6), st.text(max_size=20), st.text(max_size=20))
def test_any_names_give_one_of_them_or_a_sentence(files: list[str], artifact: str, wanted: str) -> None:
    choice = Choice(tuple(files))
    with suppress(NotChosen):
        assert choice.chosen(artifact, wanted) in files


NAMES = st.one_of(
    st.text(max_size=20),
    st.lists(st.sampled_from(["a", "App", ".tar", "tar.gz", "-", "__", "\N{ROCKET}"])).map("".join),
    st.lists(st.sampled_from(["My App.TAR", "app.tar", "x", ".", "\u0130.tar"])).map("/".join),
)


@given(NAMES)
def test_a_file_is_looked_for_where_any_of_its_names_is(path: str) -> None:
    for names in names_of(path):
        assert {slug(each.rpartition("/")[2]) for each in names} <= keys_of(path)


def test_of_thousands_of_files_only_those_are_compared_that_may_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = list[str]()

    def counted(path: str) -> Iterator[set[str]]:
        compared.append(path)
        return names_of(path)

    monkeypatch.setattr(choosing, "names_of", counted)
    choice = Choice((*(f"{number}/file{number}.tar" for number in range(10_000)), "app.tar"))

    assert choice.chosen("x", "image-app@v1.tar.zst", "app") == "app.tar"
    assert choice.chosen("app") == "app.tar"
    with pytest.raises(NotChosen):
        choice.chosen("nosuch", "neither")
    assert set(compared) == {"app.tar"}
