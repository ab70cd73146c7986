"""Members of a tar: as Python and GNU write them, and such as nobody should."""

import io
import tarfile
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import TarballInvalid
from proxy.tarballs.members import Member, members

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
LONG = "folder/" * 25 + "file"


def written(*entries: tarfile.TarInfo | tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for each in entries:
            if isinstance(each, tarfile.TarInfo):
                archive.addfile(each)
            else:
                member = tarfile.TarInfo(each[0])
                member.size = len(each[1])
                archive.addfile(member, io.BytesIO(each[1]))
    return buffer.getvalue()


def other(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def content(member: Member) -> bytes:
    found = b""
    while part := member.read(7000):
        found += part
    return found


def files(archive: bytes) -> dict[str, bytes]:
    return {member.name: content(member) for member in members(io.BytesIO(archive))}


def patched(archive: bytes, at: int, text: bytes) -> bytes:
    """Change the first header, and its checksum."""
    header = bytearray(archive[:512])
    header[at : at + len(text)] = text
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + archive[512:]


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=6), st.sampled_from(FORMATS))
def test_every_file_comes_with_its_name_and_its_bytes(contents: list[bytes], form: int) -> None:
    named = {f"{number}-{'n' * number * 15}": each for number, each in enumerate(contents)}

    assert files(written(*named.items(), form=form)) == named


@pytest.mark.parametrize("form", FORMATS)
def test_long_names_are_whole(form: int) -> None:
    assert files(written((LONG, b"x"), ("next", b"y"), form=form)) == {LONG: b"x", "next": b"y"}


def test_names_are_shortened_and_what_is_no_file_is_passed_over() -> None:
    archive = written(
        ("./a/./b", b"1"), other("folder", tarfile.DIRTYPE), other("pipe", tarfile.FIFOTYPE), ("a//c", b"2")
    )

    assert files(archive) == {"a/b": b"1", "a/c": b"2"}


def test_what_is_not_read_is_skipped() -> None:
    found = [member.name for member in members(io.BytesIO(written(("a", b"x" * 5000), ("b", b"y"))))]

    assert found == ["a", "b"]


def test_links_lead_to_names() -> None:
    archive = written(
        other("id/layer.tar", tarfile.SYMTYPE, "../other/layer.tar"), other("hard", tarfile.LNKTYPE, "./id/x")
    )

    assert [(member.name, member.link) for member in members(io.BytesIO(archive))] == [
        ("id/layer.tar", "other/layer.tar"),
        ("hard", "id/x"),
    ]


def test_a_size_in_base_256_is_read() -> None:
    huge = tarfile.TarInfo("huge")
    huge.size = 10 * 1024**3

    first = next(members(io.BytesIO(huge.tobuf(tarfile.GNU_FORMAT))))

    assert first.size == huge.size


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (b"", "this is not a tarball"),
        (b"no tar at all" * 100, "this is not a tarball"),
        (bytes(1024), "this is not a tarball"),
        (written(("../evil", b"x")), "leads out of it: '../evil'"),
        (written(("a/../../evil", b"x")), "leads out of it"),
        (written(("n" * 5000, b"x")), "whose name has more than 4096 bytes"),
        (written(("a", b"x" * 5000))[:3000], "ends in the middle of a"),
        (written(("a", b"x" * 5000))[:5511], "ends in the middle of a"),
        (written(("a", b"x"))[:1024] + b"\1" * 512, "damaged"),
        (patched(written(("a", b"x")), 156, b"S"), "sparse file"),
        (patched(written(("a", b"x")), 124, b"\xff" * 12), "negative size"),
    ],
)
def test_what_is_no_sound_tarball_is_told(archive: bytes, message: str) -> None:
    with pytest.raises(TarballInvalid, match=message):
        files(archive)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": "-5"}, "size is '-5'"),
        ({"size": "9" * 30}, "size is '9"),
        ({"size": "100000"}, "ends in the middle of"),
        ({"GNU.sparse.major": "1"}, "sparse file"),
        ({"path": "../evil"}, "leads out of it"),
        ({"comment": "x" * 2_000_000}, "an extended header of 2"),
    ],
)
def test_what_an_extended_header_claims_is_not_believed(fields: dict[str, str], message: str) -> None:
    member = tarfile.TarInfo("a")
    member.size, member.pax_headers = 1, fields
    archive = member.tobuf(tarfile.PAX_FORMAT) + b"x" + bytes(511)

    with pytest.raises(TarballInvalid, match=message):
        files(archive)


def test_a_damaged_extended_header_is_told() -> None:
    member = tarfile.TarInfo("a")
    member.pax_headers = {"comment": "x"}
    archive = bytearray(member.tobuf(tarfile.PAX_FORMAT))
    archive[512:515] = b"99 "

    with pytest.raises(TarballInvalid, match="damaged pax header"):
        files(bytes(archive))


def test_a_crowd_of_members_is_given_up() -> None:
    one = other("folder", tarfile.DIRTYPE).tobuf(tarfile.USTAR_FORMAT)

    with pytest.raises(TarballInvalid, match="more than 100000 members"):
        files(one * 100_001)


@given(st.data())
def test_damage_anywhere_ends_in_a_sentence_or_in_bytes(data: st.DataObject) -> None:
    archive = bytearray(written((LONG, b"abc" * 400), ("b", b"y" * 700), other("l", tarfile.SYMTYPE, "b")))
    for _ in range(data.draw(st.integers(1, 8))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(archive)))

    try:
        found = files(bytes(archive[:cut]))
    except TarballInvalid as error:
        told = error.message
    else:
        told = str(sorted(found))

    assert told


def pax(*records: tuple[str, str]) -> bytes:
    """Write an extended header of these records."""
    text = b""
    for key, value in records:
        body = f" {key}={value}\n"
        length = next(n for n in range(len(body), len(body) + 9) if n == len(body) + len(str(n)))
        text += f"{length}{body}".encode()
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(text)
    return header.tobuf(tarfile.USTAR_FORMAT) + text + bytes(-len(text) % 512)


def test_of_extended_headers_only_what_is_wanted_is_kept() -> None:
    strange = b"".join(pax((f"SCHILY.xattr.{number}", "x" * 100_000)) for number in range(300))
    archive = strange + pax(("path", "long/name")) + written(("short", b"content"), form=tarfile.USTAR_FORMAT)

    tracemalloc.start()
    found = files(archive)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert found == {"long/name": b"content"}
    assert peak < 5_000_000


def test_an_absolute_name_is_one_within_the_tar() -> None:
    assert files(written(("/blobs/x", b"1"), ("//y", b"2"))) == {"blobs/x": b"1", "y": b"2"}


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_the_size_of_what_has_no_content_is_ignored(kind: bytes) -> None:
    archive = patched(written(other("x", kind, "a"), ("a", b"1"), form=tarfile.USTAR_FORMAT), 124, b"00000010000\0")

    assert files(archive)["a"] == b"1"


def test_the_times_of_gnu_are_no_part_of_a_name() -> None:
    archive = patched(written(("a", b"1"), form=tarfile.GNU_FORMAT), 345, b"14764305571\x0014764305571\0")

    assert files(archive) == {"a": b"1"}


@given(st.binary(min_size=1, max_size=1500), st.data())
def test_what_is_missing_behind_the_last_byte_is_not_missed(text: bytes, data: st.DataObject) -> None:
    archive = written(("a", b"1"), ("b", text), form=tarfile.USTAR_FORMAT)
    end = 1536 + len(text)

    cut = data.draw(st.integers(end, end + -len(text) % 512))

    assert files(archive[:cut]) == {"a": b"1", "b": text}


@pytest.mark.parametrize("records", [[("path", "")], [("size", "")], [("path", "x"), ("path", "")]])
def test_an_empty_record_leaves_what_the_header_says(records: list[tuple[str, str]]) -> None:
    archive = pax(*records) + written(("short", b"content"), form=tarfile.USTAR_FORMAT)

    assert files(archive) == {"short": b"content"}


def test_an_empty_record_leaves_where_a_link_leads() -> None:
    archive = pax(("linkpath", "")) + written(other("l", tarfile.SYMTYPE, "a"), form=tarfile.USTAR_FORMAT)

    assert [member.link for member in members(io.BytesIO(archive))] == ["a"]


@pytest.mark.parametrize(("kind", "expected"), [(b"L", ("long", "to")), (b"K", ("short", "long"))])
def test_a_long_name_of_gnu_ends_at_its_first_zero(kind: bytes, expected: tuple[str, str]) -> None:
    name = other("././@LongLink", kind)
    name.size = 9
    link = written(other("short", tarfile.SYMTYPE, "to"), form=tarfile.USTAR_FORMAT)
    archive = name.tobuf(tarfile.GNU_FORMAT) + b"long\0rest" + bytes(503) + link

    assert [(member.name, member.link) for member in members(io.BytesIO(archive))] == [expected]
