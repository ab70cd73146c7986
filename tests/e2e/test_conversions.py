"""Four workflows of well-known projects, shortened to how they hand images over, now with the relay; under act."""

import secrets
from pathlib import Path

import pytest

from tests.e2e import building
from tests.e2e.acting import Acting
from tests.e2e.bridged import Bridged

# Act starts a container, and Node in it, for each job: 30 s to two minutes a workflow.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

FOLDER = Path(__file__).parent / "conversions"
_CHILD = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nENV CHILD=yes\n"
_CALLED = ".github/workflows/image.yml"


@pytest.fixture
def acting(bridged: Bridged, relay_image: str, tmp_path: Path) -> Acting:
    building.import_root(bridged, "job", building.JOB)
    return Acting(bridged, tmp_path)


@pytest.mark.parametrize(
    ("name", "more", "tested"),
    [
        ("chain", {_CALLED: "chain-image.yml"}, 1),
        ("stacks", {_CALLED: "stacks-image.yml"}, 3),
        ("services", {"docker-bake.hcl": "services.hcl"}, 4),
        ("integration", {}, 2),
    ],
)
def test_the_hand_over_of_a_project_works_with_the_relay(
    name: str, more: dict[str, str], tested: int, acting: Acting
) -> None:
    token = secrets.token_hex(16)
    files = {path: (FOLDER / source).read_text() for path, source in more.items()}

    ran = acting.run(acting.flow((FOLDER / f"{name}.yml").read_text()), token, {"child.Dockerfile": _CHILD, **files})

    assert ran.status == 0
    assert ran.said.count(f"tested {token}") == tested
    assert acting.engine.docker("ps", "--all", "--quiet").split() == []
