"""Files of a folder that no relay wrote, damaged at random: a sentence, or the image that they were made of."""

import asyncio
import zipfile
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.errors import ManifestUnknown
from proxy.oci.names import Name, Tag
from tests.registry_harness import RegistryHarness
from tests.tarballs import COMPRESSIONS, legacy_save, oci_save, sample, zipped

IMAGE = sample(b"foreign")
TARBALLS = [legacy_save(IMAGE, "a:v1"), oci_save(IMAGE, "a:v1")]
FILES = [
    *TARBALLS,
    *(COMPRESSIONS[kind](TARBALLS[0]) for kind in ("gzip", "bzip2", "xz", "zstd")),
    *(zipped({"a.tar": each}, method) for each in TARBALLS for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)),
]
EVIL, LATEST = Name("evil"), Tag("latest")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_is_told_and_never_becomes_another_image(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(data.draw(st.sampled_from(FILES)))
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]

    async def pull() -> None:
        registry = await RegistryHarness.open(tmp_path / "registry")
        await asyncio.to_thread((registry.root / "evil.tar.zst").write_bytes, content)
        with suppress(ManifestUnknown):
            assert set(IMAGE.layers) <= set((await registry.pull(LATEST, EVIL)).values())
        assert registry.files("uploads") == []
        await registry.crew.cancel_all()

    asyncio.run(pull())


async def test_a_file_of_the_folder_is_an_image_too(tmp_path: Path) -> None:
    registry = await RegistryHarness.open(tmp_path)
    await asyncio.to_thread((tmp_path / "evil.tar.zst").write_bytes, COMPRESSIONS["zstd"](TARBALLS[1]))

    assert set(IMAGE.layers) <= set((await registry.pull(LATEST, EVIL)).values())
    await registry.crew.cancel_all()
