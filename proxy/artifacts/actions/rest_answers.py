"""Documents of GitHub's REST API, checked: what is missing, or of another kind than documented, is told, not believed.

Where there is none, the message says what to change in the workflow.
"""

from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ValidationError, ValidatorFunctionWrapHandler
from yarl import URL

from proxy.artifacts.actions.github_api import Answer, GitHubApi
from proxy.artifacts.base import StoreRefused
from proxy.runtime.transport import json_object

T = TypeVar("T", bound=BaseModel)

ABSENT = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_PERMISSION = 'give the job "permissions: {{actions: {}}}"'
UNDELETABLE = f"GITHUB_TOKEN cannot delete artifacts: {_PERMISSION.format('write')}"


def as_text(value: object) -> str:
    """Return a text as it is, and an empty one in place of anything else."""
    return value if isinstance(value, str) else ""


def or_none(value: object, read: ValidatorFunctionWrapHandler) -> Any:
    """Return None where something cannot be read."""
    try:
        return read(value)
    except ValidationError:
        return None


Text = Annotated[str, BeforeValidator(as_text)]  # empty where it is absent, or something else


async def document(api: GitHubApi, kind: type[T], url: URL, what: object) -> T:
    """Return the document at a URL, which describes `what`. Raise StoreRefused."""
    answer = await api.get(url)
    if answer.status in ABSENT:
        raise StoreRefused(f"GitHub knows no {what}, or GITHUB_TOKEN cannot see it: {_PERMISSION.format('read')}")
    check(answer)
    fields = json_object(answer.body)
    if answer.status != HTTPStatus.OK or fields is None:
        raise StoreRefused(
            f"GitHub's API did not answer with a document ({answer.status}): "
            "are GITHUB_API_URL and GITHUB_REPOSITORY right?"
        )
    try:
        return kind.model_validate(fields)
    except ValidationError:  # left out it would be taken for absent
        raise StoreRefused("GitHub's API listed artifacts in a way that makes no sense; try again later") from None


def check(answer: Answer, *, of_deletion: bool = False) -> None:
    """Raise StoreRefused for an answer that is none."""
    if answer.status == HTTPStatus.UNAUTHORIZED:
        raise StoreRefused("GitHub does not accept GITHUB_TOKEN, or no longer does: it expires with its job")
    if answer.status == HTTPStatus.FORBIDDEN:
        unreadable = f"GITHUB_TOKEN cannot read artifacts: {_PERMISSION.format('read')}"
        raise StoreRefused(UNDELETABLE if of_deletion else unreadable)
    if answer.status >= HTTPStatus.BAD_REQUEST or (of_deletion and answer.status != HTTPStatus.NO_CONTENT):
        raise StoreRefused(f"GitHub's API refused ({answer.status})")
