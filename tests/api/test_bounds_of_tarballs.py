"""Work is bounded by what was sent, and ends when whoever sent it has left."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import threading
from collections import Counter

import pytest

from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from proxy.runtime.limits import Limits
from proxy.tarballs.contents import Contents, File
from proxy.tarballs.images import images
from tests import tarballs
from tests.api.relay import MIB, Relay, connected, eventually, request
from tests.tarballs import legacy_save, sample, tar

_CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'


async def refused(relay: Relay, content: bytes, name: str = "app:v1") -> str:
    answer = await relay.ask("PUT", f"/relay/images/{name}", data=content)
    assert answer.error == (400, "MANIFEST_INVALID")
    assert relay.artifacts() == relay.files("uploads") == relay.files("blobs") == []
    return answer.message


def skipped(size: int) -> bytes:
    """Write the header of a member that is no file, and so read and not kept: of so many bytes."""
    header = tarfile.TarInfo("volume")
    header.type, header.size = b"V", size
    return header.tobuf(tarfile.GNU_FORMAT)


HOUR = bz2.compress(skipped(1 << 50)) + bz2.compress(bytes(64 * MIB)) * 3000  # some 190 GiB, of 180 KiB


@pytest.mark.parametrize("limits", [Limits(progress_poll=0.05)])
@pytest.mark.parametrize("query", ["", "?progress"])
async def test_what_was_sent_is_worked_on_only_while_its_sender_waits(relay: Relay, query: str) -> None:
    taken = relay.services.image_import.under_way
    sent = request("PUT", f"/relay/images/app:v1{query}", {"Content-Length": str(len(HOUR))}, HOUR)

    async with connected(relay.port, sent):
        await eventually(lambda: any(each.done for each in taken))
        (work,) = taken
    await eventually(lambda: not taken)
    done = work.done
    await eventually(lambda: not [each for each in threading.enumerate() if "unpack" in each.name])

    assert work.done - done <= MIB  # the chunk that was being read
    assert work.done < 1 << 30  # of what it would have been allowed
    assert relay.files("uploads") == []
    assert (await relay.ask("PUT", "/relay/images/app:v1", data=legacy_save(sample()))).status == 201


@pytest.mark.timeout(240)  # it reads a gibibyte
async def test_a_compression_within_another_one_counts_with_it(relay: Relay) -> None:
    layer = lzma.compress(bytes(128 * MIB), preset=0)
    content = gzip.compress(tar({f"{number}.tar": layer for number in range(12)}), 9)

    assert await refused(relay, content) == "the xz stream expands more than 2000 times: it is no image"


async def test_members_that_replace_each_other_count_one_by_one(relay: Relay) -> None:
    content = gzip.compress(tar({"a": b"x"})[:1024] * 5001)

    assert await refused(relay, content) == "the tarball has more than 5000 files"


@pytest.mark.parametrize(
    ("kind", "stream"),
    [("gzip", gzip.compress(b"", mtime=0)), ("bzip2", bz2.compress(b"")), ("xz", lzma.compress(b""))],
)
async def test_thousands_of_streams_have_to_hold_something(relay: Relay, kind: str, stream: bytes) -> None:
    first = tarballs.COMPRESSIONS[kind](skipped(1 << 40))

    assert await refused(relay, first + stream * 20_000) == (
        f"it consists of more than 10000 {kind} streams with next to nothing in them"
    )


async def test_the_names_of_a_tarball_are_counted_in_all(relay: Relay) -> None:
    manifest, files = tarballs.manifest_of(sample(), "plain")
    config = next(iter(tarballs.blob(sample().config)))
    docker = [tarballs.entry(config, [], ["app:v1"]) for _ in range(2001)]
    made = tar(tarballs.layout([tarballs.descriptor(manifest, OCI_MANIFEST)], files, docker))

    assert await refused(relay, made) == "the tarball gives its images more than 2000 names"


def counted(files: dict[str, bytes]) -> tuple[Contents, Counter[Digest]]:
    """Return the contents of a tarball, and how often each file is read."""
    read, by_digest = Counter[Digest](), {Digest.of(content): content for content in files.values()}

    def reading(digest: Digest) -> bytes:
        read[digest] += 1
        return by_digest[digest]

    named = {name: File(Digest.of(content), len(content), content[:16]) for name, content in files.items()}
    return Contents(named, {}, reading), read


def test_a_config_of_a_thousand_images_is_read_once() -> None:
    files = {"c": _CONFIG, "manifest.json": json.dumps([{"Config": "c", "Layers": []}] * 1000).encode()}
    contents, read = counted(files)

    assert len(images(contents)) == 1
    assert read[Digest.of(_CONFIG)] == 1


def test_an_index_of_hundreds_of_images_of_several_platforms_is_read_once() -> None:
    files, listed = dict[str, bytes](), list[object]()
    for number in range(300):
        for architecture in ("amd64", "arm64"):
            content = json.dumps({"schemaVersion": 2, "manifests": [], "annotations": {"a": f"{number}{architecture}"}})
            files |= tarballs.blob(content.encode())
            platform = {"os": "linux", "architecture": architecture}
            annotations = {tarballs.NAME: f"app:v{number}"}
            listed.append(tarballs.descriptor(content.encode(), OCI_INDEX, platform=platform, annotations=annotations))
    index = json.dumps({"schemaVersion": 2, "manifests": listed}).encode()
    contents, read = counted(files | {"index.json": index})

    assert len(images(contents)) == 300
    assert read[Digest.of(index)] == 2


def test_an_index_lists_no_more_images_than_there_may_be() -> None:
    entry = tarballs.descriptor(b"{}", OCI_INDEX, platform={"os": "linux", "architecture": "amd64"})
    index = json.dumps({"schemaVersion": 2, "manifests": [entry] * 1001}).encode()
    contents, _ = counted({"index.json": index, f"blobs/sha256/{Digest.of(b'{}').hex}": b"{}"})

    with pytest.raises(Exception, match="more than 1000 images"):
        images(contents)


def test_the_test_of_members_is_one() -> None:
    with tarfile.open(fileobj=io.BytesIO(tar({"a": b"x"})[:1024] * 3 + bytes(1024))) as archive:
        assert archive.getnames() == ["a"] * 3
