"""A relay that dies in the middle of a push leaves nothing that is half, or false, or for ever."""

import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e import archives
from tests.e2e.clients import Toolbox
from tests.e2e.images import Image, several_layers
from tests.e2e.push_pull_clients import CLIENTS
from tests.e2e.relay import Relay
from tests.machine import require

# As many starts of a relay, and after each all that was pushed is pulled: 50 s.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

_MOMENTS = 15
_TAGS = 3  # few, so that most pushes replace an archive that is there already
_NOTHING = 1 << 20  # bytes of bookkeeping that may stay when nothing is in progress


def _pushing(toolbox: Toolbox, image: Image, reference: str) -> subprocess.Popen[bytes]:
    command = [require("skopeo"), "copy", "--dest-tls-verify=false", "--quiet", image.source]
    return subprocess.Popen(
        [*command, f"docker://{reference}"],
        env=toolbox.env(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _push_time(toolbox: Toolbox, image: Image, relay: Relay) -> float:
    """Return how long an undisturbed push takes here, in seconds."""
    started = time.monotonic()
    assert _pushing(toolbox, image, f"{relay.host}/app:undisturbed").wait() == 0
    return time.monotonic() - started


def _check_all_that_is_listed(relay: Relay, toolbox: Toolbox, folder: Path) -> None:
    for archive in relay.archives():
        assert "index.json" in archives.members(archive)
    for name, tag in relay.tags():
        reference = f"{relay.host}/{name}:{tag}"
        CLIENTS["skopeo"].pull(toolbox, reference, folder / "pulled")
        shutil.rmtree(folder / "pulled")


def test_kills_at_random_moments_leave_nothing_half(relay: Relay, toolbox: Toolbox, tmp_path: Path) -> None:
    moments = random.Random(2)  # noqa: S311 - moments in time, not secrets
    whole = _push_time(toolbox, several_layers(tmp_path / "undisturbed"), relay)
    confirmed: dict[str, str] = {}
    interrupted = 0
    for number in range(_MOMENTS):
        image, tag = several_layers(tmp_path / f"image{number}"), f"v{number % _TAGS}"
        before = relay.digest("app", tag)

        client = _pushing(toolbox, image, f"{relay.host}/app:{tag}")
        time.sleep(moments.uniform(0, whole * 1.1))  # the moment itself, not a wait
        relay.kill()
        if client.wait() == 0:
            confirmed[tag] = image.digest
        else:
            interrupted += 1
        relay.start()

        answered = relay.digest("app", tag)
        assert answered in {before, image.digest}
        assert tag not in confirmed or answered in {confirmed[tag], image.digest}
        _check_all_that_is_listed(relay, toolbox, tmp_path)
        _check_that_the_push_can_go_on(relay, toolbox, image, tag)
        confirmed[tag] = image.digest
        shutil.rmtree(image.layout)
    assert interrupted >= _MOMENTS // 3, f"only {interrupted} pushes were interrupted"


def _check_that_the_push_can_go_on(relay: Relay, toolbox: Toolbox, image: Image, tag: str) -> None:
    size = sum(path.stat().st_size for path in image.layout.rglob("*") if path.is_file())
    assert relay.other_bytes() <= size + _NOTHING, "left-overs of earlier pushes grow"

    CLIENTS["skopeo"].push(toolbox, image, f"{relay.host}/app:{tag}")

    assert relay.digest("app", tag) == image.digest
