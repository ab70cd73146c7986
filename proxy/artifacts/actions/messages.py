"""What the results service answers, in either spelling: GitHub in snake case, act, Gitea and Forgejo in camel case.

Numbers come as strings or numbers, and absent keys are defaults. Whoever answers in camel case lists unfinished
artifacts, too.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic.alias_generators import to_camel

from proxy.text import as_utc


@dataclass(frozen=True, slots=True)
class Listed:
    """An artifact as the service lists it: `run` and `job` are the backend ids to sign and delete it with.

    `finished`: this service lists none that is unfinished.
    """

    run: str = field(repr=False)
    job: str = field(repr=False)
    id: str
    name: str
    size: int
    created: datetime
    digest: str
    finished: bool = True


def _as_text(value: object) -> str:
    return str(value) if isinstance(value, str | int) else ""


def _as_size(value: object) -> int:
    text = _as_text(value) or "0"
    if not (text.isascii() and text.isdigit()):
        raise ValueError("no number of bytes")
    return int(text)


_Text = Annotated[str, BeforeValidator(_as_text)]
_Needed = Annotated[_Text, Field(min_length=1)]


class _Message(BaseModel):
    """What the service answers; every key in either spelling."""

    model_config = ConfigDict(
        alias_generator=AliasGenerator(validation_alias=lambda name: AliasChoices(name, to_camel(name))),
        hide_input_in_errors=True,
    )


class _Entry(_Message):
    """An artifact in a listing."""

    workflow_run_backend_id: _Needed
    workflow_job_run_backend_id: _Text = ""
    database_id: _Needed
    name: _Needed
    size: Annotated[int, BeforeValidator(_as_size)] = 0
    created_at: Annotated[datetime, AfterValidator(as_utc)]
    digest: _Text = ""
    in_snake_case: bool = False

    @model_validator(mode="before")
    @classmethod
    def _note_spelling(cls, fields: object) -> object:
        return {**fields, "in_snake_case": "database_id" in fields} if isinstance(fields, dict) else fields

    @model_validator(mode="after")
    def _has_bytes(self) -> Self:
        if self.digest and not self.size:
            raise ValueError("what has a digest has bytes")
        return self

    def listed(self) -> Listed:
        """Return the artifact."""
        return Listed(
            self.workflow_run_backend_id,
            self.workflow_job_run_backend_id,
            self.database_id,
            self.name,
            self.size,
            self.created_at,
            self.digest,
            finished=bool(self.digest) or self.in_snake_case,
        )


class ListAnswer(_Message):
    """Of ListArtifacts; a part that makes no sense makes all of it invalid: it may be what is asked for."""

    artifacts: list[_Entry] | None = None


class CreateAnswer(_Message):
    """Of CreateArtifact."""

    signed_upload_url: _Text = ""


class Finalized(_Message):
    """Of FinalizeArtifact."""

    ok: object = False
    artifact_id: _Text = ""


class Signed(_Message):
    """Of GetSignedArtifactURL."""

    signed_url: _Text = ""
