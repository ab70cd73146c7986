"""What tools and people make of tarballs: each is the image that it is, or a sentence that names the cure.

No case is a fault of the relay: none is answered with 500, and none leaves an error or a traceback in the log.
"""

import bz2
import gzip
import io
import json
import logging
import lzma
import re
import struct
import tarfile
from collections.abc import Callable
from io import BytesIO
from typing import Literal

import pytest
import zstandard

from proxy.oci.manifest import OCI_INDEX
from tests.api.relay import Relay
from tests.api.test_images import files_of, image_of
from tests.tarballs import (
    COMPRESSIONS,
    Files,
    blob,
    buildx_oci,
    entry,
    legacy_save,
    oci_archive,
    oci_save,
    sample,
    tar,
    zipped,
)

IMAGE = sample(b"the image")
LEGACY, SAVED = legacy_save(IMAGE, "app:v1"), oci_save(IMAGE, "app:v1")
OLD, LAYOUT = files_of(LEGACY), files_of(SAVED)
CONFIG = next(name for name in OLD if name.endswith(".json") and name != "manifest.json")
PATHS = json.loads(OLD["manifest.json"])[0]["Layers"]
SEVERAL = [sample(b"other", architecture="arm64"), IMAGE]


def formed(files: Files, change: Callable[[tarfile.TarInfo], object], form: int = tarfile.USTAR_FORMAT) -> bytes:
    """Write a tar whose headers are changed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            change(member)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def named(prefix: str) -> Callable[[tarfile.TarInfo], object]:
    return lambda member: setattr(member, "name", prefix + member.name)


def patched(header: tarfile.TarInfo, at: int, text: bytes, form: Literal[0, 1] = tarfile.USTAR_FORMAT) -> bytes:
    """Write a header with some bytes changed, and its checksum."""
    block = bytearray(header.tobuf(form)[-512:])
    block[at : at + len(text)] = text
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def of_type(kind: bytes, name: str = "x", size: int = 0) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.size = kind, size
    return header


def hard(name: str, target: str) -> bytes:
    """Write a hard link."""
    header = of_type(tarfile.LNKTYPE, name)
    header.linkname = target
    return header.tobuf(tarfile.USTAR_FORMAT)


def version_7(content: bytes) -> bytes:
    """Take the magic out of each header, as tar of 1979 has none."""
    found = bytearray(content)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for each in archive:
            found[each.offset : each.offset + 512] = patched(each, 257, bytes(8))
    return bytes(found)


def parted(compress: Callable[[bytes], bytes], size: int = 4096) -> bytes:
    """Compress in pieces of a size, as bgzip, pbzip2 and pixz do."""
    return b"".join(compress(SAVED[at : at + size]) for at in range(0, len(SAVED), size))


def pzstd(content: bytes) -> bytes:
    frame = zstandard.compress(content)
    return struct.pack("<III", 0x184D2A50, 4, len(frame)) + frame


def without(files: Files, *names: str) -> Files:
    return {name: content for name, content in files.items() if name not in names}


def docker(**fields: object) -> bytes:
    """Change the entry of manifest.json."""
    (entry,) = json.loads(OLD["manifest.json"])
    changed = {key: value for key, value in {**entry, **fields}.items() if value is not ...}
    return tar(OLD | {"manifest.json": json.dumps([changed]).encode()})


def appended(files: Files, name: str) -> bytes:
    """Write a tar, and then a member of it once more, as tar -r does."""
    content = formed(files, lambda _: None)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        last = archive.getmembers()[-1]
    end = last.offset_data + last.size + -last.size % 512
    return content[:end] + tar({name: OLD[name]})


def below_blobs(compress: Callable[[bytes], bytes], **more: bytes) -> bytes:
    """Write what a manifest.json alone names as the files of a layout."""
    layers = [blob(compress(layer)) for layer in IMAGE.layers]
    files = blob(IMAGE.config) | {name: each for layer in layers for name, each in layer.items()}
    listed = entry(next(iter(blob(IMAGE.config))), [name for layer in layers for name in layer], ["app:v1"])
    return tar({"manifest.json": json.dumps([listed]).encode(), **files, **more})


def linked_blobs(compress: Callable[[bytes], bytes]) -> bytes:
    """Write layers below `blobs/`, and name hard links to them."""
    files, names = blob(IMAGE.config), list[str]()
    written = BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for number, layer in enumerate(IMAGE.layers):
            ((path, content),) = blob(compress(layer)).items()
            add(archive, path, content)
            link = tarfile.TarInfo(f"{number}.tar")
            link.type, link.linkname = tarfile.LNKTYPE, path
            archive.addfile(link)
            names.append(link.name)
        listed = entry(next(iter(files)), names, ["app:v1"])
        for path, content in (files | {"manifest.json": json.dumps([listed]).encode()}).items():
            add(archive, path, content)
    return written.getvalue()


def add(archive: tarfile.TarFile, path: str, content: bytes) -> None:
    info = tarfile.TarInfo(path)
    info.size = len(content)
    archive.addfile(info, BytesIO(content))


IMAGES: dict[str, bytes] = {
    "absolute names (buildpacks)": formed(LAYOUT, named("/")),
    "names that begin with ./": formed(LAYOUT, named("./")),
    "names with .. inside": formed(LAYOUT, named("a/../")),
    "tar -r: a later member replaces an earlier one": appended(OLD | {"manifest.json": b"[]"}, "manifest.json"),
    "a folder with a size": patched(of_type(tarfile.DIRTYPE, "blobs"), 124, b"00000010000\0") + SAVED,
    "a device with a size": patched(of_type(tarfile.CHRTYPE, "null"), 124, b"00000010000\0") + SAVED,
    "times of GNU in the prefix": patched(
        of_type(tarfile.REGTYPE), 345, b"14764305571\x0014764305571\0", tarfile.GNU_FORMAT
    )
    + SAVED,
    "a global extended header (git archive)": tarfile.TarInfo.create_pax_global_header({"comment": "a" * 40}) + SAVED,
    "a label of a volume (tar -V)": of_type(b"V").tobuf(tarfile.GNU_FORMAT) + SAVED,
    "no end": SAVED.rstrip(b"\0") + bytes(512 - len(SAVED.rstrip(b"\0")) % 512),
    "something behind the end": SAVED + b"garbage" * 100,
    "tar of version 7": version_7(formed(LAYOUT, lambda _: None)),
    "extended headers for all": formed(
        LAYOUT, lambda each: setattr(each, "pax_headers", {"mtime": "1.5"}), tarfile.PAX_FORMAT
    ),
    "files of macOS beside": tar({f"._{name}": b"\0\5\x16\7" for name in LAYOUT} | LAYOUT),
    "padding between xz streams": lzma.compress(SAVED[:5120]) + bytes(8) + lzma.compress(SAVED[5120:]),
    "bgzip": parted(lambda part: gzip.compress(part, 1), 100),
    "pbzip2": parted(bz2.compress, 100),
    "pixz": parted(lambda part: lzma.compress(part, preset=0), 100),
    "zstd in frames": parted(zstandard.compress, 100),
    "pzstd": pzstd(SAVED),
    "xz -8": lzma.compress(SAVED, preset=8),
    "gzip with something behind it": gzip.compress(SAVED) + bytes(2000),
    "layers without a list of names": docker(RepoTags=...),
    "names that are none": docker(RepoTags=["<none>:<none>", ""]),
    "a manifest.json with spaces": tar(OLD | {"manifest.json": b" \n" + OLD["manifest.json"]}),
    "a layout with one tag (skopeo)": oci_archive(IMAGE, "app:v1"),
    "an index within the index": buildx_oci(SEVERAL, "app:v1"),
    "an index that does not say what its children are": buildx_oci([IMAGE], "app:v1", typed=False),
    "paths with a dot": docker(Config=f"./{CONFIG}", Layers=[f"./{each}" for each in PATHS]),
    "paths from the root": docker(Config=f"/{CONFIG}", Layers=[f"/x/../{each}" for each in PATHS]),
    "hard links to themselves (cp -al, tar index.json .)": SAVED.rstrip(b"\0")
    + bytes(-len(SAVED.rstrip(b"\0")) % 512)
    + b"".join(hard(f"./{name}", name) for name in LAYOUT),
    "a hard link keeps the content of its time": tar({"q": OLD["manifest.json"]}).rstrip(b"\0").ljust(1024, b"\0")
    + hard("manifest.json", "q")
    + tar(without(OLD, "manifest.json") | {"q": b"[]"}),
    "a hard link before its file": hard("manifest.json", "q")
    + tar(without(OLD, "manifest.json") | {"q": OLD["manifest.json"]}),
    "a file that is called version": tar(OLD | {"version": b"1"}),
    "layers of bzip2": tar(
        {name: bz2.compress(each) if name.endswith("layer.tar") else each for name, each in OLD.items()}
    ),
}

for kind in ("bzip2", "xz", "gzip", "zstd"):
    IMAGES[f"layers of {kind} below blobs/, without an index (rules_oci)"] = below_blobs(COMPRESSIONS[kind])
    IMAGES[f"the same of {kind}, as hard links to them"] = linked_blobs(COMPRESSIONS[kind])
IMAGES["a file below blobs/ that is no layer"] = below_blobs(bytes, **{"blobs/sha256/junk": b"\xfd7zXZ\0junk"})


@pytest.mark.parametrize("made", IMAGES.values(), ids=IMAGES)
async def test_what_is_an_image_is_taken_as_such(relay: Relay, made: bytes, caplog: pytest.LogCaptureFixture) -> None:
    answer = await relay.ask("PUT", "/relay/images/app:v1", data=made)

    assert answer.status == 201, answer.body
    assert await image_of(relay, "v1") == IMAGE
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


FAR = zstandard.ZstdCompressor(
    compression_params=zstandard.ZstdCompressionParameters(window_log=31 if struct.calcsize("P") == 8 else 27)
)


def far() -> bytes:
    writer = FAR.compressobj()
    return writer.compress(SAVED) + writer.flush()


def sparse() -> bytes:
    header = tarfile.TarInfo("sparse")
    header.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    return header.tobuf(tarfile.PAX_FORMAT) + SAVED


UTF_16 = b"\xff\xfe" + LEGACY.decode("latin-1").encode("utf-16-le")
FORM = b'------x\r\nContent-Disposition: form-data; name="f"; filename="a.tar"\r\n\r\n' + SAVED
ANOTHER = "another tarball follows the first|the zstd stream cannot be read"
REFUSED: dict[str, tuple[bytes, str]] = {
    "a zip": (zipped({"app.tar": SAVED}), "this is a zip: unzip it, and send the tarball that is in it"),
    "a zip in a zip": (zipped({"a.zip": zipped({"app.tar": SAVED})}), "this is a zip: unzip it"),
    "a tar in a tar": (tar({"out/app.tar": SAVED}), "it has another tarball in it, 'out/app.tar': send that"),
    "a tar.gz in a tar": (tar({"app.tgz": b""}), "it has another tarball in it, 'app.tgz': send that"),
    "gzip twice": (gzip.compress(gzip.compress(SAVED)), "this is compressed twice: decompress it once"),
    "gzip in zstd": (zstandard.compress(gzip.compress(SAVED)), "this is compressed twice"),
    "lz4": (b"\x04\x22\x4d\x18" + bytes(600), "compressed with lz4: use zstd"),
    "lz4, old": (b"\x02\x21\x4c\x18" + bytes(600), "compressed with lz4: use zstd"),
    "lzma": (lzma.compress(SAVED, lzma.FORMAT_ALONE), "compressed with lzma: use xz"),
    "lzop": (b"\x89LZO\0\r\n" + bytes(600), "compressed with lzop: use zstd"),
    "snappy": (b"\xff\x06\0\0sNaPpY" + bytes(600), "compressed with snappy: use zstd"),
    "cpio": (b"070701" + bytes(600), "a cpio archive: send what docker save writes"),
    "a package of Debian": (b"!<arch>\ndebian-binary" + bytes(600), "an ar archive, as of Debian's packages"),
    "a disk": (b"QFI\xfb" + bytes(600), "the image of a disk"),
    "PowerShell": (UTF_16, "UTF-16, as PowerShell before 7.4 redirects it: use docker save --output FILE"),
    "a form": (FORM, "this is a form, as curl -F sends it: send the file itself, by curl -T FILE"),
    "a page": (b"<html>Log in</html>", "it is a page that begins with '<html>Log in</html>'"),
    "an error": (b"Error: no such image", "it is a text that begins with 'Error: no such image'"),
    "nothing": (b"", "it is empty"),
    "zeros": (bytes(10_240), "this is not a tarball: it is empty, with nothing but zeros in it"),
    "lzma with other parameters": (
        lzma.compress(
            SAVED, lzma.FORMAT_ALONE, filters=[{"id": lzma.FILTER_LZMA1, "lc": 2, "lp": 1, "dict_size": 4096}]
        ),
        "compressed with lzma: use xz",
    ),
    "two tars in a tar": (
        tar({"a.tar": SAVED, "b.TXZ": b""}),
        "it has another tarball in it, 'a.tar', 'b.TXZ': send that and each other by itself",
    ),
    "two images in folders": (
        tar({f"{each}/{name}": content for each in ("a", "b c") for name, content in OLD.items()}),
        "its images are in the folders 'a', 'b c': pack what is in each by itself, by tar -C a -cf - \\.",
    ),
    "a folder with the name of a command": (
        tar({f"$(rm) 'x/{name}": content for name, content in OLD.items()}),
        re.escape("by tar -C '$(rm) '\"'\"'x' -cf - ."),
    ),
    "a layout without its index": (
        tar(without(LAYOUT, "index.json", "manifest.json")),
        "an OCI layout without its index.json: pack the whole folder",
    ),
    "blobs alone": (tar(blob(b"x")), "an OCI layout without its index.json: pack the whole folder"),
    "docker before 1.10": (
        tar({"abc/json": b"{}", "abc/layer.tar": b"", "repositories": b"{}"}),
        "of Docker before 1.10: load it, and save it with a newer one",
    ),
    "docker export": (tar({"etc/passwd": b"", "bin/sh": b""}), "was it docker export\\? Use docker save"),
    "unpacked docker save in a folder": (
        tar({f"app/{name}": each for name, each in OLD.items()}),
        "in the folder 'app'",
    ),
    "a layout in a folder": (tar({f"out/{name}": each for name, each in LAYOUT.items()}), "by tar -C out -cf - \\."),
    "podman's docker-dir": (
        tar({"version": b"Directory Transport Version: 1.1\n", "manifest.json": b"{}", "0" * 64: b""}),
        "what skopeo and podman write to dir: and docker-dir; use oci-archive: or docker-archive:",
    ),
    "dir: without its version": (
        tar({"manifest.json": b'{"schemaVersion": 2}'}),
        "write to dir: and docker-dir; use oci-",
    ),
    "sparse, of GNU": (
        patched(of_type(tarfile.REGTYPE), 156, b"S") + SAVED,
        "a sparse file.*: pack it without --sparse",
    ),
    "sparse, of POSIX": (sparse(), "a sparse file.*: pack it without --sparse"),
    "xz -9": (lzma.compress(SAVED, preset=9), "more than 40 MiB of memory; compress it with xz -8 at most"),
    "zstd --long=31": (far(), "more than 32 MiB of memory; compress it with zstd --long=25 at most"),
    "no list": (tar(OLD | {"manifest.json": b'"x"'}), "manifest.json cannot be read: it: Input should be a valid"),
    "no config": (docker(Config=...), "manifest.json cannot be read: 0.Config: Field required"),
    "a number for a config": (
        docker(Config=1),
        "manifest.json cannot be read: 0.Config: Input should be a valid string",
    ),
    "a text for layers": (docker(Layers="x"), "manifest.json cannot be read: 0.Layers: Input should be a valid"),
    "a number among names": (docker(RepoTags=["a", 1]), "manifest.json cannot be read: 0.RepoTags.1: Input should be"),
    "a layer of xz that an empty index leaves to manifest.json": (
        below_blobs(COMPRESSIONS["xz"], **{"index.json": b'{"schemaVersion":2,"manifests":[]}'}),
        "a layer that manifest.json names is compressed with xz: use zstd, or gzip",
    ),
    "a layer that is not there": (docker(Layers=["a.tar"]), "the tarball lacks 'a.tar', which its manifest.json names"),
    "a number among the layers of a config": (
        tar(OLD | {CONFIG: b'{"rootfs":{"diff_ids":[1]}}'}),
        "the config '.*' cannot be read: rootfs.diff_ids.0: Input should be a valid string",
    ),
    "a comma too much": (
        tar(OLD | {"manifest.json": b"[{},]"}),
        r"manifest.json cannot be read: it: Invalid JSON: .* at line 1 column 5",
    ),
    "fewer layers": (docker(Layers=[]), "the config names 2 layers, manifest.json 0"),
    "a config that is none": (tar(OLD | {CONFIG: b"<html>"}), "the config '.*' cannot be read: it: Invalid JSON"),
    "a mark of byte order": (
        tar(OLD | {"manifest.json": b"\xef\xbb\xbf[]"}),
        "manifest.json cannot be read: it: Invalid",
    ),
    "UTF-16 in it": (tar(OLD | {"manifest.json": "[]".encode("utf-16")}), "manifest.json cannot be read: it: Invalid"),
    "an index of nothing": (
        tar(
            LAYOUT
            | {"index.json": json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX}).encode(), "manifest.json": b"[]"}
        ),
        "the tarball holds no image",
    ),
    "cut": (SAVED[:5000], "the tarball ends (too early|in the middle of)"),
    "cut, in gzip": (gzip.compress(SAVED)[:-500], "the gzip stream ends too early"),
    "two tarballs": (LEGACY + SAVED, "another tarball follows the first: send each by itself"),
    **{
        f"two, {first} and {second}": (COMPRESSIONS[first](LEGACY) + COMPRESSIONS[second](SAVED), ANOTHER)
        for first in COMPRESSIONS
        for second in COMPRESSIONS
    },
    **{
        f"two, {kind}, with zeros between": (COMPRESSIONS[kind](LEGACY) + bytes(1000) + SAVED, ANOTHER)
        for kind in ("gzip", "bzip2", "xz")
    },
    "two, with much between": (LEGACY + bytes(3 * 2**20) + SAVED, "another tarball follows the first"),
    "two compressed ones": (gzip.compress(LEGACY) + gzip.compress(SAVED), "another tarball follows the first"),
    "a wrong checksum": (gzip.compress(SAVED)[:-8] + bytes(8), "the gzip stream cannot be read: .*checksum"),
    "a wrong checksum behind much padding": (
        gzip.compress(SAVED + bytes(3 * 2**20))[:-8] + bytes(8),
        "cannot be read: .*checksum",
    ),
    "a long name": (formed({"x" * 5000: b""}, lambda _: None, tarfile.PAX_FORMAT), "a member whose name has more than"),
    "a member outside": (formed({"../../etc/x": b""}, lambda _: None), "a member that leads out of it: '../../etc/x'"),
}


@pytest.mark.parametrize(("made", "cure"), REFUSED.values(), ids=REFUSED)
async def test_what_is_none_is_told_what_it_is_and_what_to_do(
    relay: Relay, made: bytes, cure: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await relay.ask("PUT", "/relay/images/app:v1", data=made)

    assert answer.error == (400, "MANIFEST_INVALID")
    assert re.search(cure, answer.message, re.DOTALL), answer.message
    assert not re.search(r"[a-z](Error|Exception)\b|Traceback|object at 0x", answer.message)
    assert relay.artifacts() == relay.files() == []
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
