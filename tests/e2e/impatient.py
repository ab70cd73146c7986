"""A client that pushes content as it makes it, and waits for an answer no longer than Docker 29.7 does.

That engine gives up when the headers of an answer do not come within 30 s after a request was written. It follows a
redirect and sends the body again, up to the tenth, and never repeats a manifest that failed.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence

from tests.e2e.images import CONFIG, MANIFEST, Descriptor, digest_of
from tests.e2e.relay import Relay

PATIENCE = 30.0  # seconds
MOST_HOPS = 9

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
_MIB = 1 << 20


def random_mebibytes(mebibytes: int) -> Iterator[bytes]:
    """Yield content that does not compress, and of which no two mebibytes are the same; as fast as can be."""
    same = os.urandom(_MIB - 8)
    for number in range(mebibytes):
        yield number.to_bytes(8) + same


class ImpatientClient:
    """Pushes to one repository of a relay."""

    def __init__(self, relay: Relay, name: str, patience: float = PATIENCE) -> None:
        self._relay = relay
        self._name = name
        self._patience = patience
        self.hops = 0  # redirects that the last manifest took

    def push(self, content: Iterable[bytes], media_type: str = _LAYER) -> Descriptor:
        """Upload a blob by POST, one PATCH in chunks, PUT."""
        made, size = hashlib.sha256(), 0

        def hashed() -> Iterator[bytes]:
            nonlocal size
            for chunk in content:
                made.update(chunk)
                size += len(chunk)
                yield chunk

        status, headers, said = self._ask("POST", f"/v2/{self._name}/blobs/uploads/")
        assert status == 202, said
        upload = headers["Location"]
        status, _, said = self._ask("PATCH", upload, hashed())
        assert status == 202, said
        digest = f"sha256:{made.hexdigest()}"
        status, _, said = self._ask("PUT", f"{upload}?digest={digest}")
        assert status == 201, said
        return {"mediaType": media_type, "digest": digest, "size": size}

    def tag(self, tag: str, layers: Sequence[Descriptor]) -> str:
        """Push the manifest of an image of these layers, and return its digest."""
        config = self.push([_CONFIG], CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": list(layers)}
        body, path = json.dumps(manifest).encode(), f"/v2/{self._name}/manifests/{tag}"
        for self.hops in range(MOST_HOPS + 1):
            status, headers, said = self._ask("PUT", path, body, {"Content-Type": MANIFEST})
            if status != 307:
                assert status == 201, said
                return digest_of(body)
            path = headers["Location"]
        raise AssertionError(f"stopped after {MOST_HOPS} redirects")

    def _ask(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, more: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        status, headers, said = self._relay.request(method, path, more, body, patience=self._patience)
        return status, dict(headers), said
