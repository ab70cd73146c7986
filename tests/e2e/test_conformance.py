"""The official conformance suite of the OCI distribution specification, all four categories."""

import re
from pathlib import Path

import pytest

from tests.e2e.clients import Toolbox, attempt
from tests.e2e.relay import Relay
from tests.machine import require

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

_SUITE = re.compile(r"<testsuite [^>]*>")
_COUNT = re.compile(r'(tests|failures|errors|disabled|skipped)="(\d+)"')


# The pass counts of olareg, the one other registry that fails nothing in this suite.
@pytest.mark.parametrize(("version", "olareg"), [("1.1", 854), ("dev", 980)])
def test_the_conformance_suite_passes_completely(
    version: str,
    olareg: int,
    relay: Relay,
    toolbox: Toolbox,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = tmp_path / "results"
    settings = {
        "OCI_REGISTRY": f"127.0.0.1:{relay.port}",
        "OCI_TLS": "disabled",
        "OCI_VERSION": version,
        "OCI_RESULTS_DIR": str(results),
    }

    done = attempt([require("conformance")], toolbox.env() | settings)

    counts = _counts(results / "junit.xml")
    with capsys.disabled():
        print(f"conformance {version}: {counts}")  # noqa: T201 - a figure the project reports
    assert counts["failures"] == counts["errors"] == 0, done.stderr[-8000:]
    assert done.returncode == 0, done.stderr[-8000:]
    assert counts["passes"] >= olareg


def _counts(junit: Path) -> dict[str, int]:
    suite = _SUITE.search(junit.read_text())
    assert suite, "the report has no test suite"
    counts = {name: int(number) for name, number in _COUNT.findall(suite[0])}
    others = sum(counts.get(name, 0) for name in ("failures", "errors", "disabled", "skipped"))
    return counts | {"passes": counts["tests"] - others}
