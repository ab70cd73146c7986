"""What the project asks GitHub on its own runs, asked of the emulator: every fact, true and false."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.action.runner import ROOT
from tests.fakes.actions.emulator import Emulator, Job
from tests.fakes.actions.faults import Answer
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.machine import require_node

pytestmark = pytest.mark.timeout(120)

RELIED, NOT, EITHER = "as relied on", "**not as relied on**", "either will do"


class Facts:
    """One run of the probe: its rows, and whether it failed."""

    def __init__(self, actions: Emulator, job: Job, folder: Path) -> None:
        summary = folder / "summary.md"
        summary.unlink(missing_ok=True)
        done = subprocess.run(  # noqa: S603
            [require_node(), str(ROOT / ".github" / "actions" / "facts" / "main.mjs")],
            env={
                "PATH": os.environ["PATH"],
                **actions.environment(job),
                "INPUT_LABEL": "here",
                "INPUT_MEGABYTES": "1",
                "GITHUB_STEP_SUMMARY": str(summary),
            },
            capture_output=True,
            check=False,
            text=True,
            timeout=100,
        )
        self.said = done.stdout + done.stderr
        self.failed = done.returncode != 0
        self.summary = summary.read_text() if summary.exists() else ""
        found = re.findall(r"^\| (.+) \| (.+) \| (.+) \|$", self.summary, re.MULTILINE)
        self.rows = {fact: (seen, mark) for fact, seen, mark in found[2:]}
        self.wrong = {fact for fact, (_, mark) in self.rows.items() if mark == NOT}


@pytest.fixture
def probe(emulate: Emulate, tmp_path: Path) -> Callable[..., Facts]:
    def run(**options: Any) -> Facts:
        actions = emulate(**options)
        return Facts(actions, actions.job("facts"), tmp_path)

    return run


def test_github_as_it_is_thought_to_be_has_every_fact(probe: Callable[..., Facts]) -> None:
    facts = probe(whole_read_limit=None)

    assert not facts.failed, facts.said
    assert facts.wrong == set()
    assert facts.rows["rights of an upload URL"] == ("cw", RELIED)
    assert facts.rows["life of an upload URL"] == ("60 min", RELIED)
    assert facts.rows["a block with a wrong CRC-64"] == ("answered 400", RELIED)
    assert facts.rows["an unfinished artifact"] == ("is not listed", RELIED)
    assert facts.rows["Put Block From URL"] == ("is allowed", RELIED)
    assert facts.rows["the digest in the list"] == ("is told", RELIED)
    assert facts.rows["artifacts of an earlier attempt"] == ("unknown until a re-run", EITHER)
    assert len(facts.rows) >= 20


@pytest.mark.parametrize("flavour", [Flavour.ACT, Flavour.GITEA, Flavour.FORGEJO])
def test_servers_that_keep_the_bytes_themselves_are_as_the_relay_knows_them(
    flavour: Flavour, probe: Callable[..., Facts]
) -> None:
    facts = probe(flavour=flavour)

    assert not facts.failed, facts.said
    assert facts.rows["blob storage"][0] == "the service itself"
    assert facts.rows["keys of the list"][0] == "camel case"


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"upload_lifetime": 300.0}, "life of an upload URL"),
        ({"listed_after": 11.0}, "listed after it is finished"),
    ],
    ids=["upload URLs live too short", "finished artifacts stay unseen"],
)
def test_what_is_not_as_relied_on_fails_the_job_and_is_named(
    options: dict[str, Any], fact: str, probe: Callable[..., Facts]
) -> None:
    facts = probe(whole_read_limit=None, **options)

    assert facts.failed
    assert facts.wrong == {fact}
    assert f"::error title=image-relay::{fact}: {facts.rows[fact][0]}" in facts.said


@pytest.mark.parametrize(
    ("kind", "fact"),
    [("put_block", "a block with a wrong CRC-64"), ("copy_block", "Put Block From URL")],
    ids=["blocks are not checked", "copies are not checked"],
)
def test_a_storage_that_checks_nothing_is_found_out(kind: str, fact: str, emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate(whole_read_limit=None)
    actions.plan.play(kind, Answer(201))

    facts = Facts(actions, actions.job("facts"), tmp_path)

    assert facts.failed
    assert facts.wrong == {fact}


@pytest.mark.parametrize(
    ("options", "fact", "seen"),
    [
        ({"copies": False}, "Put Block From URL", r"is refused \(\d+\)"),
        ({"delete_frees_unfinished": True}, "an artifact that is deleted", "answered 200"),
        ({"listed_after": 3.0}, "listed after it is finished", r"after [34]\.\d s"),
    ],
)
def test_facts_that_may_be_either_way_are_shown(
    options: dict[str, Any], fact: str, seen: str, probe: Callable[..., Facts]
) -> None:
    facts = probe(whole_read_limit=None, **options)

    assert not facts.failed, facts.said
    assert re.fullmatch(seen, facts.rows[fact][0])


@pytest.mark.parametrize(("taken", "names"), [(True, "are taken"), (False, "are free")])
def test_the_second_attempt_of_a_run_looks_for_what_the_first_one_left(
    taken: bool,
    names: str,
    emulate: Emulate,
    tmp_path: Path,
) -> None:
    actions = emulate(whole_read_limit=None, unique_across_attempts=taken)
    Facts(actions, actions.job("facts"), tmp_path)

    second = Facts(actions, actions.job("facts", attempt=2), tmp_path)

    assert not second.failed, second.said
    assert second.rows["artifacts of an earlier attempt"] == ("are listed, under another id", EITHER)
    assert second.rows["their names"] == (names, EITHER)


def test_no_secret_is_shown(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate(whole_read_limit=None)
    job = actions.job("facts")

    shown = (facts := Facts(actions, job, tmp_path)).said + facts.summary

    assert job.token not in shown
    assert job.id not in shown
    assert job.run.backend_id not in shown
    assert not re.search(r"sig=|https?://", shown)
