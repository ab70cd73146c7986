"""References of images: the table that Python and JavaScript are held to, and texts that are nearly some.

`references.json` has what the Go module distribution/reference 0.6.0 answers (`ParseNormalizedNamed`): its domain,
empty for Docker Hub, and its familiar path. It takes ids such as `sha256:…` for a repository; we refuse those.
"""

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "references.json").read_text())

_PARTS = (
    *("a", "b0", "A", "Z9", "library", "docker.io", "index.docker.io", "localhost", "ghcr.io", "[::1]", "[fd00::A]"),
    *("[", "]", "127.0.0.1", ".", ":", ":5000", "/", "/", "/", "-", "--", "_", "__", "___", "@", "sha256:", "a" * 64),
    *(f"@sha256:{'0' * 64}", ":v1", "v1", " ", "\n", "~", "=", "\u00e9", "\u0130", "a_b.c", "artifact"),
)
TEXTS = st.lists(st.sampled_from(_PARTS), max_size=9).map("".join)

_words = st.text("abz09", min_size=1, max_size=5)
paths = st.lists(st.lists(_words, min_size=1, max_size=3).map("__".join), min_size=1, max_size=4).map("/".join)
_names = st.lists(st.text("aBz09", min_size=1, max_size=5), min_size=2, max_size=3).map(".".join)
_capitals = st.text("aBC", min_size=1, max_size=5).filter(lambda text: text != text.lower())
_addresses = st.lists(st.text("aF01", min_size=1, max_size=3), min_size=1, max_size=2).map(
    lambda each: f"[fd{'::'.join(each)}]"
)
_ports = st.integers(1, 65535).map(lambda port: f":{port}")
hosts = st.builds("{}{}".format, _names | _capitals | _addresses, _ports | st.just("")).filter(
    lambda host: not host.startswith("127.")
)
