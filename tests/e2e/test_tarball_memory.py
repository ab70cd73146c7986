"""What a tarball can make a relay need at most, whoever wrote it: memory of a process of its own."""

import bz2
import gzip
import json
import lzma
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import zstandard

from tests.e2e.relay import Relay
from tests.tarballs import entry, legacy_save, sample, tar, zipped

# Bombs are read up to a gigabyte, several tarballs of 600 MiB side by side: 20 s each.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.usefixtures("measured")]

MIB = 1 << 20
MOST = 150 * 1024  # KiB


def _headers_that_claim(size: int) -> bytes:
    member = tarfile.TarInfo("x")
    member.pax_headers = {"size": str(size)}
    return member.tobuf(tarfile.PAX_FORMAT) * 2000


def _wide_zstd(log: int) -> bytes:
    parameters = zstandard.ZstdCompressionParameters(window_log=log, enable_ldm=True)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return b"".join(stream.compress(each) for each in (_layer(80), *_noise(80))) + stream.flush()


def _layer(mebibytes: int) -> bytes:
    """Return the head of a layer in a tarball; without it nothing of what follows would be read."""
    member = tarfile.TarInfo("layer")
    member.size = mebibytes * MIB
    return member.tobuf()


def _bomb(compress: Callable[[bytes], bytes], mebibytes: int, times: int) -> bytes:
    return compress(_layer(mebibytes * times)) + compress(bytes(mebibytes * MIB)) * times


def _noise(mebibytes: int) -> Iterator[bytes]:
    return (os.urandom(MIB) for _ in range(mebibytes))


def _xz(preset: int) -> bytes:
    return lzma.compress(legacy_save(sample(b"x" * 5 * MIB)), preset=preset)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "zstd bomb": lambda: _bomb(zstandard.compress, 256, 20),
    "gzip bomb": lambda: _bomb(gzip.compress, 256, 6),
    "bzip2 bomb": lambda: _bomb(bz2.compress, 64, 30),
    "xz bomb": lambda: _bomb(partial(lzma.compress, preset=0), 256, 10),
    "layer of zeros": lambda: zstandard.compress(tar({"0/layer.tar": bytes(700 * MIB)})),
    "wide window": lambda: _wide_zstd(25),
    "too wide window": lambda: _wide_zstd(27),
    "xz of level 8": lambda: _xz(8),
    "xz of level 9": lambda: _xz(9),
    "claims": lambda: _headers_that_claim(1 << 62),
    "crowd of files": lambda: tar({f"{number}": b"x" for number in range(5001)}),
    "long manifest": lambda: tar({"manifest.json": b"[" + b"[]," * 1_300_000 + b"[]]"}),
    "many entries": lambda: tar(
        {"c": b"{}", "manifest.json": json.dumps([entry("c", [], [f"a:{n}"]) for n in range(30_000)]).encode()}
    ),
    "long index": lambda: tar({"index.json": b'{"manifests":[' + b'{"digest":"x","size":1},' * 170_000 + b"{}]}"}),
    "zip for a tar": lambda: zipped({f"{number}.tar": b"x" for number in range(3000)}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_hostile_is_answered_in_bounded_memory(relay: Relay, kind: str) -> None:
    status, _, body = relay.request("PUT", "/relay/images/app:v1", body=HOSTILE[kind](), patience=120)

    assert status in {201, 400}, body

    assert relay.rss_peak_kib() < MOST
    assert relay.request("GET", "/relay/health")[0] == 200
    assert not list((relay.data / "spool" / "uploads").glob("*"))


def test_large_tarballs_side_by_side_are_taken_in_bounded_memory(relay: Relay) -> None:
    def send(name: str) -> None:
        status, _, body = relay.request("PUT", f"/relay/images/{name}", body=_streamed(600), headers={}, patience=200)
        answers.append((status, body))

    answers: list[tuple[int, bytes]] = []
    threads = [threading.Thread(target=send, args=(f"app:v{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [status for status, _ in answers] == [400] * 3  # there is no manifest in it

    assert relay.rss_peak_kib() < MOST


def _streamed(mebibytes: int) -> Iterator[bytes]:
    yield _layer(mebibytes)
    for number in range(mebibytes):
        yield os.urandom(MIB) if number % 2 else bytes(MIB)
    yield bytes(1024)


@pytest.mark.parametrize("field", ["layers", "manifests", "blobs"])
def test_a_manifest_of_a_million_mistakes_is_told_one_of_them(relay: Relay, field: str) -> None:
    headers = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    content = b'{"' + field.encode() + b'":[' + b"[]," * 1_300_000 + b"[]]}"

    status, _, body = relay.request("PUT", "/v2/app/manifests/v1", headers, content)

    assert status == 400, body
    assert relay.rss_peak_kib() < MOST
