from pathlib import Path

import pytest

from config import job
from config.job import Job

SECRET = "ghs_secret"  # noqa: S105
EVERYTHING = {
    "GITHUB_ACTIONS": "true",
    "ACTIONS_RUNTIME_TOKEN": SECRET,
    "ACTIONS_RESULTS_URL": "http://gitea:3000/",
    "GITHUB_TOKEN": f"{SECRET}\n",
    "GITHUB_REPOSITORY": "octo/relay",
    "GITHUB_RUN_ID": "1001",
    "GITHUB_SERVER_URL": "http://gitea:3000",
    "GITHUB_API_URL": "http://gitea:3000/api/v1",
}


def test_outside_of_a_workflow_there_is_nothing() -> None:
    assert job.read({"PATH": "/bin"}) == Job()
    assert job.describe({"PATH": "/bin"}) == []


def test_a_workflow_tells_everything() -> None:
    assert job.read(EVERYTHING) == Job(
        under_ci=True,
        runtime_token=SECRET,
        results_url="http://gitea:3000/",
        github_token=SECRET,
        repository="octo/relay",
        run_id="1001",
        server_is_github=False,
        api_url="http://gitea:3000/api/v1",
    )


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("team/image-relay@v1", "team/image-relay@v1"),
        ("team/tools/relay@feature/x", "team/tools/relay@feature/x"),
        ("./", "./"),
        ("", ""),
        ("team/image-relay", ""),
        ('team/image-relay@v1" before\n', ""),
        ("::error::@x", ""),
    ],
)
def test_the_name_of_the_action_is_one_that_a_workflow_can_have(name: str, read: str) -> None:
    assert job.read({"IMAGE_RELAY_ACTION": name}).action == read


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert job.read(dict.fromkeys(EVERYTHING, "")) == Job()
    assert job.describe(dict.fromkeys(EVERYTHING, " ")) == []


@pytest.mark.parametrize(
    ("server", "is_github"),
    [
        ("https://github.com", True),
        ("https://GitHub.com/", True),
        ("https://tenant.ghe.com", True),
        ("http://tenant.ghe.com", False),
        ("https://github.com.evil.example", False),
        ("https://codeberg.org", False),
    ],
)
def test_the_address_of_the_server_tells_whether_it_is_github(server: str, is_github: bool) -> None:
    assert job.read({"GITHUB_SERVER_URL": server}).server_is_github is is_github


def test_tokens_are_shown_nowhere() -> None:
    described = job.describe(EVERYTHING)

    assert SECRET not in f"{described} {job.read(EVERYTHING)!r}"
    assert ("ACTIONS_RUNTIME_TOKEN", "set") in described
    assert ("GITHUB_TOKEN", "set") in described
    assert ("GITHUB_RUN_ID", "1001") in described


@pytest.mark.parametrize(
    ("event", "run"),
    [
        ('{"workflow_run": {"id": 12345678901}}', "12345678901"),
        ('{"workflow_run": null}', ""),
        ('{"workflow_run": {"id": -5}}', ""),
        ('{"workflow_run": {"id": 0}}', ""),
        (f'{{"workflow_run": {{"id": {10**20}}}}}', ""),
        ("{}", ""),
        ("no JSON", ""),
        (None, ""),
    ],
)
def test_the_event_tells_which_run_triggered_this_one(tmp_path: Path, event: str | None, run: str) -> None:
    path = tmp_path / "event.json"
    if event is not None:
        path.write_text(event)

    assert job.read({"GITHUB_EVENT_PATH": str(path)}).triggering_run == run
