"""Every setting, in one definition; `config.reading` fills it from the environment and the command line."""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_data_path
from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, SecretStr, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from config import address
from config.commands import EMPTY, parse_time

PREFIX = "RELAY_"
TRIGGERING = "triggering"  # the run that triggered this one (`on: workflow_run`)
_RUN = re.compile(rf"[0-9]{{1,20}}|{TRIGGERING}|[^\s@,/]+\.ya?ml@[^\s,]{{1,255}}", re.ASCII)
_LEAST_BUDGET = 8 * 1024 * 1024  # bytes; two pieces of 2 MiB, which every transfer must be able to hold, counted twice


def _if_text(parse: Callable[[str], object]) -> BeforeValidator:
    """Return a validator that parses text, or the words of an option as one text; anything else is for the type."""

    def parsed(value: object) -> object:
        text = ",".join(map(str, value)) if value and isinstance(value, list) else value
        return parse(text) if isinstance(text, str) else text

    return BeforeValidator(parsed)


_AnyCase = _if_text(str.lower)


def _parse_runs(text: str) -> tuple[str, ...]:
    """Return runs separated by commas or white space, each once. Raise ValueError if one of them names no run."""
    runs = tuple(dict.fromkeys(re.split(r"[\s,]+", text.strip(" ,\t\r\n"))))
    for run in runs:
        if not _RUN.fullmatch(run):
            raise ValueError(f"{run[:60]!r} is not a run; write its number, workflow.yml@branch, or {TRIGGERING}")
    return runs


class Settings(BaseModel):
    """All settings of a relay, checked and unchangeable. The constructor reads neither environment nor arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)

    host: Annotated[tuple[str, ...], _if_text(address.parse_hosts)] = Field(
        address.HOSTS,
        min_length=1,
        description="addresses to listen on, separated by commas; loopback only, because whoever reaches the relay "
        "can push",
    )
    port: int = Field(
        address.PORT,
        ge=0,
        le=65535,
        description="TCP port to listen on; 5000 is the usual port of a local registry, 0 takes any free one",
    )
    public_host: str = Field(
        default_factory=lambda known: f"localhost:{known['port']}",
        description="host[:port] at which clients reach the relay; left out of image names, and added to them when an "
        "artifact is loaded by hand; localhost, because docker needs no certificate for it",
    )
    store: Annotated[Literal["auto", "directory", "actions"], _AnyCase] = Field(
        "auto",
        description="where images are kept; directory: one file per image in the data folder; actions: artifacts of "
        "the workflow run; auto: actions if GITHUB_ACTIONS=true, or RELAY_RUN_ID or RELAY_FROM is set, else directory",
    )
    data: Path = Field(
        default_factory=lambda: user_data_path("image-relay", appauthor=False),
        description="folder for image files and uploads in progress; it needs room for another copy of the largest "
        "image",
    )
    spool_limit: ByteSize = Field(
        ByteSize(4 * 1024**3),
        description="bytes of disk for a cache of layers that are in artifacts or came from upstreams; the least "
        "recently used is removed first",
    )
    memory_budget: ByteSize = Field(
        ByteSize(64 * 1024 * 1024),
        description="bytes of image data in memory at once, such as 64MiB, at least 8MiB; more makes many transfers "
        "faster, less leaves room for the build",
    )
    artifact_prefix: str = Field(
        "image-",
        description="prefix of the names of artifacts and image files; tells them from other artifacts and files",
    )
    artifact_format: Annotated[Literal["zip", "raw"], _AnyCase] = Field(
        "zip",
        description="zip: can be unpacked by every version of download-artifact and the web page; raw: the bare "
        ".tar.zst, for download-artifact 8 and newer",
    )
    retention_days: int = Field(
        3,
        ge=1,
        le=400,
        description="days that an artifact is kept, at most what the repository allows; storage is billed, but a "
        "re-run on Monday should still find the image of Friday",
    )
    overwrite: Annotated[Literal["job", "run"], _AnyCase] = Field(
        "job",
        description="who may move a tag of this run to another image; job: the job that pushed it; run: any job",
    )
    upload_concurrency: int = Field(
        8, ge=1, le=64, description="blocks of 4 MiB that are uploaded at once; more helps only on fast connections"
    )
    download_concurrency: int = Field(
        8, ge=1, le=64, description="ranges of 5 MiB that are downloaded at once; more helps only on fast connections"
    )
    trusted_hosts: Annotated[tuple[str, ...] | None, _if_text(address.parse_places)] = Field(
        None,
        description="host or host:port of results services and storage other than GitHub's, separated by commas; by "
        "default none under GitHub, this machine elsewhere",
    )
    run_id: str | None = Field(
        None,
        description="number of another workflow run whose images are served, and can be deleted; needs GITHUB_TOKEN "
        "with actions: read, or write to delete, and GITHUB_REPOSITORY",
    )
    from_: Annotated[tuple[str, ...] | None, _if_text(_parse_runs)] = Field(
        None,
        alias="from",
        description="other runs of the repository whose images can be pulled if this run lacks them, in this order, "
        f"separated by commas: a number, workflow.yml@branch for its newest successful run, or {TRIGGERING}; needs "
        "GITHUB_TOKEN with actions: read",
    )
    trust_forks: bool = Field(
        False,
        description="with RELAY_RUN_ID or RELAY_FROM: serve the images of a run whose commit comes from a fork; "
        "anybody can have made them",
    )
    access: Annotated[Literal["write", "read"], _AnyCase] = Field(
        "write", description="read: serve images, refuse every push and deletion, and keep the current session"
    )
    compression_level: int = Field(
        1,
        ge=1,
        le=19,
        description="zstd level, 1 (fast) to 19 (small), for content that is not compressed yet",
    )
    settle_seconds: float = Field(
        2,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="seconds without a request after which a manifest pushed only by digest becomes an artifact or "
        "file of its own; long enough for the tag that usually follows",
    )
    wait: Annotated[float, _if_text(parse_time)] = Field(
        0,
        ge=0,
        le=21600,
        allow_inf_nan=False,
        description="how long a pull of a tag that is not there yet waits for it, such as 10m; 0: not at all",
    )
    upstreams: Annotated[tuple[str, ...] | None, _if_text(address.parse_upstreams)] = Field(
        None,
        description="registries that are asked for what is not in the run, if a client means them, separated by "
        "commas, such as docker.io,ghcr.io; docker.io=mirror.gcr.io asks another host instead",
    )
    upstream_auth: SecretStr | None = Field(
        None,
        description="logins for them, as HOST=USER:PASSWORD, one on a line; set it in the environment, since other "
        "users of the machine can see arguments; whoever reaches the relay can pull what they may",
    )
    upstream_keep: bool = Field(
        False,
        description="store what was pulled from them as artifacts, so that other jobs of the run, with the same "
        "setting, do not fetch it again",
    )
    password: SecretStr | None = Field(
        None,
        description="every client but the health check must send it, with any user name; set it in the environment, "
        "since other users of the machine can see arguments",
    )
    log_format: Annotated[Literal["text", "json"], _AnyCase] = Field(
        "text", description="text: lines for people; json: one object per line, for collectors"
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _AnyCase] = Field(
        "info",
        description="lowest level that is logged; debug adds a line for each missing blob, lost client and request to "
        "a service",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _check_presence(cls, value: object) -> object:
        if value == "":  # a variable of a CI that was never filled; above all no password where one was meant
            raise ValueError(EMPTY)
        return value

    @field_validator("public_host")
    @classmethod
    def _check_public_host(cls, value: str) -> str:
        if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[a-zA-Z0-9.-]+)(:\d{1,5})?", value):
            raise ValueError("should be a host, or host:port")
        if not address.has_port(value):
            raise ValueError("has no port up to 65535")
        if not (value.partition(":")[0] == "localhost" or re.search(r"[.:]", value)):
            raise ValueError("without a dot or a port, docker takes it for part of the repository; add the port")
        return value

    @field_validator("memory_budget")
    @classmethod
    def _check_memory_budget(cls, value: ByteSize) -> ByteSize:
        if value < _LEAST_BUDGET:
            raise ValueError(f"should be at least {_shown(ByteSize(_LEAST_BUDGET))}")
        return value

    @field_validator("artifact_prefix")
    @classmethod
    def _check_artifact_prefix(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,39}", value):
            raise ValueError("should be 1 to 40 lower-case letters, digits and . _ - and begin with a letter or digit")
        return value

    @field_validator("run_id")
    @classmethod
    def _check_run_id(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9]{1,20}", value):
            raise ValueError("should be the number of a run, which is in the URL of its page")
        return value

    @field_validator("upstream_auth")
    @classmethod
    def _check_upstream_auth(cls, value: SecretStr | None, known: ValidationInfo) -> SecretStr | None:
        hosts = {each.partition("=")[0] for each in known.data.get("upstreams") or ()}
        if value and not address.parse_logins(value.get_secret_value()).keys() <= hosts:
            raise ValueError("has a login for a registry that is not in RELAY_UPSTREAMS")
        return value

    @property
    def logins(self) -> dict[str, tuple[str, str]]:
        """User and password for upstreams, by host."""
        return address.parse_logins(self.upstream_auth.get_secret_value()) if self.upstream_auth else {}

    @field_validator("data")
    @classmethod
    def _check_data(cls, value: Path) -> Path:
        try:
            folder = value.expanduser().absolute()
        except RuntimeError:
            raise ValueError("is below the home directory of a user that does not exist") from None
        with suppress(OSError):  # what cannot be looked at is told when it is used
            if folder.exists() and not folder.is_dir():
                raise ValueError("is a file; a folder is needed")
        return folder

    def describe(self, *, changed: bool = False) -> list[tuple[str, str]]:
        """Return name and value of all settings, or of those that are not the defaults; a password shows as `set`."""
        fields = type(self).model_fields
        if changed:
            defaults = type(self)()
            given = {name: field for name, field in fields.items() if name in self.model_fields_set}
            fields = {name: field for name, field in given.items() if getattr(self, name) != getattr(defaults, name)}
        return [(PREFIX + (field.alias or name).upper(), _shown(getattr(self, name))) for name, field in fields.items()]

    @classmethod
    def named(cls) -> dict[str, FieldInfo]:
        """Return the fields by the names that they have for users: `from` is a word of Python."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}


def _shown(value: object) -> str:
    """Write a value as a person would."""
    if isinstance(value, SecretStr):
        return "set"
    if isinstance(value, ByteSize):
        return value.human_readable().replace(".0", "")
    if isinstance(value, tuple):
        return ",".join(value)
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
