"""The relay as a process of the job: where there is no engine, or no image."""

import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.action.conftest import Use
from tests.action.runner import ROOT, Ended, Step
from tests.action.stranger import Recorder
from tests.action.wheels import wheels
from tests.e2e.jobs import Jobs
from tests.machine import require_ipv6
from tests.ports import free_port

__all__ = ["wheels"]

pytestmark = pytest.mark.timeout(240)

TRACKING = f"image-relay-tests-{os.getpid()}"  # as a runner of its own, beside those of other workers


@pytest.fixture
def temp(tmp_path: Path) -> Path:
    folder = tmp_path / "runner-temp"
    folder.mkdir()
    return folder


@pytest.fixture
def start(jobs: Jobs, use: Use, temp: Path, wheels: Path, tmp_path: Path) -> Iterator[Callable[..., Step]]:
    """Use the action in a job that has nothing but a Python."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(sys.executable)

    def make(*, environment: dict[str, str] | None = None, **inputs: str) -> Step:
        told = {
            "PATH": str(programs),
            "RUNNER_TEMP": str(temp),
            "RUNNER_TRACKING_ID": TRACKING,
            "RELAY_TRUSTED_HOSTS": jobs.actions.trusted_hosts,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "NOT_ALLOWED": "anything",
            **(environment or {}),
        }
        return use(None, environment=told, **{"port": "0", **inputs})

    yield make
    for pid in _left():
        os.kill(pid, signal.SIGKILL)


def _left() -> list[int]:
    """Return the processes that a runner would end because of their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"RUNNER_TRACKING_ID={TRACKING}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def _health(main: Ended) -> dict[str, Any]:
    with urlopen(f"{main.outputs['address']}/relay/health") as answer:  # noqa: S310
        health: dict[str, Any] = json.load(answer)
    return health


def test_without_docker_a_process_serves_the_session_of_the_job(
    jobs: Jobs, start: Callable[..., Step], temp: Path
) -> None:
    step = start()

    main = step.main()
    health = _health(main)
    (pid,) = _left()
    told = [Path(f"/proc/{pid}/{name}").read_bytes().decode() for name in ("environ", "cmdline")]
    files = [path for path in temp.rglob("*") if path.is_file()]
    kept = [path.read_bytes().decode(errors="replace") for path in files if path.suffix not in {".pyc", ".so"}]
    post = step.post()

    assert (main.status, main.annotations) == (0, [])
    assert (health["session"], health["ready"]) == ("active", True)
    assert (
        "the relay is a process of this job: this job has no image-relay, and none can be started without Docker"
        in main.said
    )
    assert main.outputs["registry"] == f"localhost:{main.outputs['address'].rpartition(':')[2]}"
    assert "NOT_ALLOWED" not in told[0]
    assert (post.status, post.annotations) == (0, [])
    assert "image-relay serves localhost:" in post.said
    assert "stopped" in post.said
    assert (_left(), list(temp.iterdir())) == ([], [])
    jobs.search([*told, *kept, main.said, post.said, json.dumps(step.state), json.dumps(main.outputs)])


def test_a_log_that_a_step_has_removed_fails_no_job(start: Callable[..., Step], temp: Path) -> None:
    step = start(environment={"GITHUB_RETENTION_DAYS": "3650"})  # more than a relay takes
    assert step.main().status == 0
    for file in temp.glob("*/log"):
        file.unlink()

    post = step.post()

    assert (post.status, post.annotations) == (0, [])
    assert "a step of this job has removed it" in post.said
    assert (_left(), list(temp.iterdir())) == ([], [])


def test_a_later_use_takes_the_same_process_once_it_has_proved_what_it_is(
    start: Callable[..., Step], temp: Path
) -> None:
    first, second = start(password="auto"), start()  # noqa: S106 - the word, not a password
    begun = first.main()
    (pid,) = _left()

    again = second.main()
    record = json.loads(next(temp.glob("*/process.json")).read_text())
    with urlopen(f"{begun.outputs['address']}/relay/proof?challenge={'0' * 32}") as answer:  # noqa: S310
        proof = answer.read().decode()
    after = second.post()

    assert again.status == 0
    assert again.annotations == []
    assert again.outputs["address"] == begun.outputs["address"]
    assert again.outputs["password"] == begun.outputs["password"] != ""
    assert proof == hmac.new(record["nonce"].encode(), b"0" * 32, hashlib.sha256).hexdigest()
    assert {stat.S_IMODE(path.stat().st_mode) for path in temp.glob("*/process.json")} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in temp.iterdir()} == {0o700}
    assert (after.status, after.annotations, _left()) == (0, [], [pid])
    assert first.post().annotations == []
    assert _left() == []


def test_whoever_listens_in_its_place_gets_nothing(jobs: Jobs, start: Callable[..., Step], temp: Path) -> None:
    start().main()
    (path,) = temp.glob("*/process.json")
    stranger = Recorder(b"{}")
    path.write_text(json.dumps({**json.loads(path.read_text()), "port": str(stranger.port)}))

    main = start().main()
    stranger.close()

    assert main.status == 1
    assert "does not answer as the relay of this job: another process may have taken the port" in main.error
    assert [request.split("?")[0] for request in stranger.heard] == ["GET /relay/proof"]
    jobs.search(stranger.heard)


def test_a_process_that_was_killed_is_told_at_the_end_and_replaced_by_a_later_use(start: Callable[..., Step]) -> None:
    first, second = start(), start()
    first.main()
    (pid,) = _left()
    os.kill(pid, signal.SIGKILL)
    lost = first.post()
    third = start()
    third.main()
    os.kill(_left()[0], signal.SIGKILL)

    again = second.main()
    post = second.post()

    assert lost.status == 0
    assert "the relay's process ended before the end of the job" in lost.annotations[0][1]
    assert "image-relay serves localhost:" in lost.said
    assert (again.status, again.annotations, post.status, post.annotations) == (0, [], 0, [])
    assert _left() == []


def test_a_process_whose_folder_a_step_has_removed_ends_with_the_job(start: Callable[..., Step], temp: Path) -> None:
    step = start()
    step.main()
    shutil.rmtree(temp)

    post = step.post()

    assert post.status == 0
    ((level, text),) = post.annotations
    assert (level, text.partition("/")[0]) == ("warning", "a step of this job has removed ")
    assert _left() == []


def test_a_process_whose_folder_others_can_change_ends_with_the_job(start: Callable[..., Step], temp: Path) -> None:
    step = start()
    step.main()
    (folder,) = temp.iterdir()
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777)
    (folder / "log").unlink()
    (folder / "log").symlink_to("/etc/hostname")

    post = step.post()

    assert post.status == 0
    ((level, text),) = post.annotations
    assert (level, text.partition(" belongs to somebody else, or is open to others")[0]) == ("warning", str(folder))
    assert Path("/etc/hostname").read_text().strip() not in post.said
    assert _left() == []


def test_without_a_token_for_other_runs_nothing_is_installed(start: Callable[..., Step], temp: Path) -> None:
    main = start(**{"from": "1001", "token": " "}).main()

    assert main.status == 1
    assert main.error.startswith("from needs a token, and the input token is empty")
    assert list(temp.iterdir()) == []


def test_what_a_cancelled_job_leaves_ends_when_the_runner_ends_its_processes(
    start: Callable[..., Step], temp: Path
) -> None:
    main = start().main()
    for pid in _left():  # as a self-hosted runner does without running the end of the job
        os.kill(pid, signal.SIGKILL)
    while _left():
        time.sleep(0.05)
    with pytest.raises(OSError, match=r"refused|reset"):  # reset while the kernel still closes what it held
        _health(main)
    left = [path.name for path in temp.iterdir()]

    step = start()
    again, post = step.main(), step.post()

    assert len(left) == 1
    assert (again.status, again.annotations) == (0, [])
    assert (post.status, post.annotations) == (0, [])
    assert (_left(), list(temp.iterdir())) == ([], [])


@pytest.mark.parametrize("after", [0.5, 1.5])
@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_a_job_that_is_cancelled_while_it_installs_leaves_nothing(
    start: Callable[..., Step], temp: Path, after: float, ended_by: signal.Signals
) -> None:
    step = start()

    cut = step.main(cancelled=(after, ended_by))
    post = step.post()

    assert cut.status != 0
    assert (post.status, post.annotations) == (0, [])
    assert (_left(), list(temp.iterdir())) == ([], [])


def test_a_port_that_is_taken_at_one_address_alone_is_not_used(start: Callable[..., Step]) -> None:
    require_ipv6()
    port = free_port()
    with socket.create_server(("::1", port), family=socket.AF_INET6):
        step = start(port=str(port))
        main = step.main()
        post = step.post()

    assert main.status == 1
    assert f"port {port} is taken on this machine" in main.error
    assert f"set  port: {port + 1}" in main.error
    assert (post.status, post.annotations, _left()) == (0, [], [])


def test_a_session_that_is_not_accepted_fails_the_step_with_the_reason(start: Callable[..., Step]) -> None:
    main = start(environment={"RELAY_TRUSTED_HOSTS": "elsewhere.example"}).main()

    assert main.status == 1
    assert "RELAY_TRUSTED_HOSTS" in main.error
    assert _left() == []


def test_a_mistake_in_a_setting_is_told(start: Callable[..., Step]) -> None:
    mistyped = start(environment={"RELAY_OVERWRTE": "run"}).main()
    mistaken = start(environment={"RELAY_OVERWRITE": "yes", "RELAY_WAIT": "long"}).main()

    assert (mistyped.status, mistaken.status) == (1, 1)
    assert mistyped.error == "RELAY_OVERWRTE is not a setting of image-relay; did you mean RELAY_OVERWRITE?"
    assert "RELAY_OVERWRITE (--overwrite) is 'yes': should be 'job' or 'run'; RELAY_WAIT" in mistaken.error


def test_a_later_use_that_the_running_process_cannot_follow_is_told(start: Callable[..., Step]) -> None:
    first = start(retention_days="2")
    first.main()

    closed, mistyped = start(password="auto"), start(environment={"RELAY_OVERWRTE": "run"})  # noqa: S106 - the word
    answered = start(environment={"RELAY_OVERWRITE": "run"}, wait_pull="10m", retention_days="5").main()
    refused = [closed.main().error, mistyped.main().error]
    first.post()

    ((level, text),) = answered.annotations
    assert (answered.status, level) == (0, "warning")
    assert text.splitlines() == [
        "wait-pull has no effect here: the relay runs already; set RELAY_WAIT in the env of the first step that uses "
        "this action",
        "RELAY_OVERWRITE has no effect here: the relay runs already; set RELAY_OVERWRITE in the env of the first step "
        "that uses this action",
        "retention-days: images are kept for 2 days; for more set RELAY_RETENTION_DAYS in the env of the first step "
        "that uses this action",
    ]
    assert "set password in the first use of this action" in refused[0]
    assert "did you mean RELAY_OVERWRITE?" in refused[1]


def test_without_an_index_the_wheels_beside_the_action_do(
    start: Callable[..., Step], wheels: Path, temp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = tmp_path / "published"
    for name in ("action", "proxy", "config"):
        shutil.copytree(ROOT / name, published / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("action.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, published)
    monkeypatch.setattr("tests.action.runner.ROOT", published)
    nowhere = {"PIP_NO_INDEX": "0", "PIP_FIND_LINKS": "", "PIP_INDEX_URL": "http://127.0.0.1:1/", "PIP_RETRIES": "0"}

    missing = start(environment=nowhere).main()
    shutil.copytree(wheels, published / "wheels")
    for path in (published, *published.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)  # whoever has the action's files may be somebody else
    step = start(environment=nowhere)
    main = step.main()
    copied = list(temp.rglob("*"))
    unremovable = [path for path in copied if path.is_dir() and not path.stat().st_mode & 0o200]
    post = step.post()

    assert missing.status == 1
    assert "the packages of the relay cannot be installed" in missing.error
    assert "See whether this machine reaches the index" in missing.error
    assert (main.status, post.status) == (0, 0)
    assert unremovable == []
    assert len([path for path in copied if path.suffix == ".pyc"]) > 100
    assert list(temp.iterdir()) == []
    assert not list(published.rglob("__pycache__")), "the files of the action may be those of other jobs too"


def test_what_people_have_set_for_their_own_packages_changes_nothing(start: Callable[..., Step]) -> None:
    own = {"PREFIX": "/nowhere", "ROOT": "/nowhere", "CONSTRAINT": "/nowhere", "DRY_RUN": "1", "NO_BINARY": ":all:"}
    step = start(environment={f"PIP_{name}": value for name, value in own.items()})

    main, post = step.main(), step.post()

    assert (main.status, post.status) == (0, 0)


def test_a_file_that_is_not_the_one_of_the_lock_is_not_installed(
    start: Callable[..., Step], wheels: Path, tmp_path: Path
) -> None:
    others = tmp_path / "others"
    shutil.copytree(wheels, others)
    (wheel,) = others.glob("idna-*")
    with wheel.open("ab") as file:
        file.write(b"x")

    main = start(environment={"PIP_FIND_LINKS": str(others)}).main()

    assert main.status == 1
    assert (
        "idna does not match its hash in the lock: the download is damaged, or somebody has altered it." in main.error
    )
    assert "DO NOT MATCH THE HASHES" in main.said
    assert main.said.count("Expected") < 3
    assert _left() == []


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"mode": "container"}, "none can be started without Docker"),
        ({"image": "localhost:1/team/relay:v1"}, "none can be started without Docker"),
        ({"image": "ghcr.io/OWNER/image-relay:1.0.0"}, "OWNER stands for whoever publishes it"),
        ({"image": "relay:v1", "mode": "process"}, "image is for a container, and mode says process"),
        ({"mode": "proces"}, "mode is 'proces'; it should be auto or container or process"),
    ],
)
def test_what_was_asked_for_is_not_replaced_by_something_else(
    inputs: dict[str, str], said: str, start: Callable[..., Step]
) -> None:
    main = start(**inputs).main()

    assert main.status == 1
    assert said in main.error
    assert _left() == []


_UV = """#!/bin/sh
[ "$*" = --version ] || echo "$*" >"${{0%/*}}/asked"
exec {uv} "$@"
"""


def test_uv_installs_where_it_is_there_and_keeps_nothing_that_others_could_change(
    start: Callable[..., Step], tmp_path: Path
) -> None:
    uv = tmp_path / "bin" / "uv"
    uv.write_text(_UV.format(uv=Path(sys.executable).with_name("uv")))
    uv.chmod(0o755)
    step = start()

    main, post = step.main(), step.post()

    asked = (tmp_path / "bin" / "asked").read_text()
    assert (main.status, post.status, _left()) == (0, 0, [])
    assert re.search(r"packages for cpython 3\.\d+ by uv", main.said)
    assert asked.startswith("pip install --quiet --no-cache --python ")
    assert "--require-hashes --only-binary :all: --no-deps" in asked
    assert " --no-index " in asked
