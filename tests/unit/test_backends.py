"""Which store is chosen, and what it takes."""

from dataclasses import replace
from pathlib import Path

import pytest

from config.job import Job
from config.settings import Settings
from proxy.backends.choice import StoreUnusable, choose

SECRET = "ghs_secret"  # noqa: S105
WORKFLOW = Job(under_ci=True)
READER = Job(github_token=SECRET, repository="octo/relay")


def chosen(data: Path, job: Job, **settings: object) -> tuple[str, str]:
    return choose(Settings.model_validate({"data": data, **settings}), job)


@pytest.mark.parametrize(
    ("settings", "job", "kind", "reason"),
    [
        ({}, Job(), "directory", "GITHUB_ACTIONS is not true"),
        ({}, WORKFLOW, "actions", "GITHUB_ACTIONS=true"),
        ({"store": "directory"}, WORKFLOW, "directory", "RELAY_STORE=directory"),
        ({"store": "actions"}, Job(), "actions", "RELAY_STORE=actions"),
        ({"run_id": "7"}, READER, "actions", "RELAY_RUN_ID is set"),
        ({"from": "7"}, READER, "actions", "RELAY_FROM is set"),
        ({"from": "7", "store": "actions"}, READER, "actions", "RELAY_STORE=actions"),
        ({"from": "triggering"}, replace(READER, triggering_run="7"), "actions", "RELAY_FROM is set"),
    ],
)
def test_the_surroundings_choose_the_store_unless_it_is_set(
    tmp_path: Path, settings: dict[str, object], job: Job, kind: str, reason: str
) -> None:
    assert chosen(tmp_path, job, **settings) == (kind, reason)


@pytest.mark.parametrize(
    ("settings", "job", "sentence"),
    [
        ({"run_id": "7"}, Job(), "RELAY_RUN_ID needs GITHUB_REPOSITORY and GITHUB_TOKEN"),
        ({"run_id": "7"}, Job(github_token=SECRET), "RELAY_RUN_ID needs GITHUB_REPOSITORY and GITHUB_TOKEN"),
        ({"run_id": "7"}, Job(repository="octo/relay"), "RELAY_RUN_ID needs GITHUB_REPOSITORY and GITHUB_TOKEN"),
        ({"run_id": "7", "store": "directory"}, READER, "RELAY_RUN_ID reads artifacts, which RELAY_STORE=directory"),
        ({"from": "7"}, Job(), "RELAY_FROM needs GITHUB_REPOSITORY and GITHUB_TOKEN"),
        ({"from": "7"}, replace(READER, repository="octo"), "RELAY_FROM needs GITHUB_REPOSITORY and GITHUB_TOKEN"),
        ({"from": "7"}, replace(READER, api_url="nowhere"), "RELAY_FROM needs GITHUB_API_URL"),
        ({"from": "7", "store": "directory"}, READER, "RELAY_FROM reads artifacts, which RELAY_STORE=directory"),
        ({"from": "triggering"}, READER, "RELAY_FROM=triggering needs a job of a workflow with on: workflow_run"),
    ],
)
def test_what_can_not_work_stops_the_start_with_a_sentence(
    tmp_path: Path, settings: dict[str, object], job: Job, sentence: str
) -> None:
    with pytest.raises(StoreUnusable, match=sentence) as refused:
        chosen(tmp_path, job, **settings)

    assert SECRET not in str(refused.value)
