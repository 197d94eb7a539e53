"""`proa.yml`: the regions, the sources and what the team has agreed on, as data.

Secrets need not stand in the file: `${NAME}` is replaced from the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from proa.errors import SettingsError
from proa.storage import absolute
from proa.times import parse_duration
from proa.yaml_file import read_yaml

FILE_NAME = "proa.yml"
LANDING_ZONE = "landing_zone"
"""The configuration key that tells a pipeline its region's landing zone."""
TABLE_KEY = "tables."
"""Begins the configuration keys that tell a pipeline where tables from elsewhere are."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EngineSettings(_Model):
    """Where queries are computed."""

    remote: str | None = None
    """A Spark Connect address (`sc://host:15002`); without it the embedded engine is started."""


class ServerSettings(_Model):
    """The region's server, `proa serve`."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = Field(default=8100, ge=0, lt=65536)
    """0 takes a free one."""
    state: str | None = None
    """Path of a SQLite file or a `postgresql://` URL; without it `.proa/<region>.db` in the project."""
    workspace_id: int | None = Field(default=None, gt=0)
    """What clients take the region for; without it a number made from the region and its storage."""
    workers: int = Field(default=4, ge=1)
    """How many updates, notebooks and statements run at once, each in a process of its own."""
    warm_workers: int = Field(default=1, ge=0)
    """How many idle processes wait, everything imported."""
    worker_memory_mb: int = Field(default=4096, ge=256)
    """A worker that uses more is ended and its update fails."""
    grace_seconds: float = Field(default=20.0, ge=0)
    """How long running work may take to end when it, or the server, is told to stop; then it is ended."""


class ApiSettings(_Model):
    """How the controller reaches a region's REST API: a Proa server or a Databricks workspace."""

    host: str
    """The address, `https://...`."""
    token: str | None = None
    """A token; without it the Databricks environment variables and profiles count."""


class RegionSettings(_Model):
    """One region: its landing zone, its storage and its engine."""

    landing_zone: str
    """Path or URL of the folder that raw files are shipped to."""
    storage: str
    """Path or URL of the folder that holds the region's tables and checkpoints."""
    options: Mapping[str, str] = Field(default_factory=dict)
    """Object-store settings (`aws_endpoint_url`, `aws_access_key_id`, ...) for both."""
    engine: EngineSettings = EngineSettings()
    configuration: Mapping[str, str] = Field(default_factory=dict)
    """Added to the pipeline's own `configuration` in this region."""
    tables: Mapping[str, str] = Field(default_factory=dict)
    """Delta tables from elsewhere that the pipeline reads: name (`catalog.schema.table`) to path or URL."""
    server: ServerSettings = ServerSettings()
    api: ApiSettings | None = None
    """Where its API answers, for the controller."""

    @property
    def table_keys(self) -> dict[str, str]:
        """`tables`, as keys of the pipeline's configuration."""
        return {TABLE_KEY + name: path for name, path in self.tables.items()}


class CaptureSettings(_Model):
    """A PostgreSQL database whose changes become files of the source: `proa capture`."""

    connection: str
    """A `postgresql://` URL; the user needs REPLICATION and SELECT."""
    tables: tuple[str, ...] = Field(min_length=1)
    """`schema.table`; without a schema `public`."""
    publication: str = "proa"
    """Made when the database has none of that name."""
    slot: str = Field(default="proa", pattern=r"^[a-z0-9_]+$", max_length=63)
    """The replication slot; made when there is none. One slot belongs to one source."""
    format: Literal["csv", "parquet"] = "csv"
    """What the files are."""
    max_changes: int = Field(default=50_000, ge=1)
    """About how many changes one round takes; a transaction is never cut."""


class SourceSettings(_Model):
    """A folder whose new files are shipped to every landing zone, as `<landing zone>/<source>/`."""

    path: str
    """Path or URL of the folder."""
    options: Mapping[str, str] = Field(default_factory=dict)
    """Object-store settings for `path` and `journal`."""
    journal: str | None = None
    """Where the order of shipments is written down; without it in the source itself, under `_proa/`."""
    settle: float = Field(default=0.0, ge=0)
    """Seconds for which a file must not have changed before it is shipped."""
    capture: CaptureSettings | None = None
    """The database that the files come from; without it somebody else writes them."""
    event_time: str | None = None
    """The field ("a.b" when nested) of the files' records that tells when an event happened."""


class EventTimeSettings(_Model):
    """The table and column that carry the time at which events happened."""

    table: str
    """A table of the pipeline that every event reaches."""
    column: str
    """Its newest value says how far a region is."""


class VerifySettings(_Model):
    """What counts as equal when the tables of two regions are compared."""

    tolerance: float = Field(default=0.0, ge=0)
    """Floats a and b are equal when |a - b| <= tolerance * max(1, |a|, |b|)."""
    tolerances: Mapping[str, Mapping[str, Annotated[float, Field(ge=0)]]] = Field(
        default_factory=dict
    )
    """For a table: by column, another tolerance for the floats in it, however nested."""
    keys: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """For a table: the columns that tell its rows apart. Without, they are guessed."""
    ignore: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """For a table, or "*" for all: columns that may differ."""


def _duration(value: Any) -> Any:
    """Texts like `15m` as seconds."""
    return parse_duration(value) if isinstance(value, str) else value


Duration = Annotated[float, BeforeValidator(_duration), Field(ge=0)]


class ControlSettings(_Model):
    """A third place, outside all regions, that holds the control record."""

    path: str
    """Path or URL of a folder."""
    options: Mapping[str, str] = Field(default_factory=dict)
    """Object-store settings for it."""


class CommandSettings(_Model):
    """Shell commands that flip a region, for the driver `command`; `{region}` is its name."""

    drain: str
    """Processes what has landed and ends; for example `proa run --region {region}`. Its environment
    may have `PROA_THROUGH`: then it leaves out files that were shipped after these, as `proa run`
    does."""
    activate: str = "true"
    """Makes the region run all the time."""
    demote: str = "true"
    """Makes the region run by its schedule."""
    fence: str = "true"
    """Stops the region's updates."""


class WebhookSettings(_Model):
    """Where alerts are posted to, as JSON."""

    url: str = Field(pattern=r"^https?://")
    """The address."""
    headers: Mapping[str, str] = Field(default_factory=dict)
    """Sent with each alert: a token, say."""


class EmailSettings(_Model):
    """How alerts are sent by e-mail."""

    host: str
    """The SMTP server."""
    port: int = Field(default=587, gt=0, lt=65536)
    sender: str
    """The address that they come from."""
    to: tuple[str, ...] = Field(min_length=1)
    """The addresses that they go to."""
    user: str | None = None
    """For a server that wants to know who sends."""
    password: str | None = None
    tls: bool = True
    """Whether the connection is encrypted with STARTTLS before anything is said."""


class AlertSettings(_Model):
    """Whom `proa control` tells about what is wrong."""

    webhook: WebhookSettings | None = None
    email: EmailSettings | None = None


class ProfileConsumerSettings(_Model):
    """A Delta Sharing profile file that is that of the active region, for consumers without a gateway."""

    profile: str
    """Path or URL of the file that consumers read."""
    regions: Mapping[Name, str]
    """For each region, path or URL of the profile that its own sharing server gave out."""
    options: Mapping[str, str] = Field(default_factory=dict)
    """Object-store settings for these files."""


class UnityConsumerSettings(_Model):
    """External tables of a Unity catalog, registered where the active region's tables are."""

    unity: ApiSettings
    """The workspace, or another server that speaks Unity Catalog's API."""
    into: str = Field(pattern=r"^[^.]+\.[^.]+$")
    """The catalog and schema that hold the tables: `main.shop`."""
    tables: tuple[str, ...] = ()
    """The pipeline's tables that are registered; all public ones when empty."""


class RecoverySettings(_Model):
    """How regions change roles, and what is promised about it."""

    group: str = Field(default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Names what moves together: the control record and its history belong to it."""
    active: str | None = None
    """The region that is active before the first change; without it the first one of `regions`."""
    control: ControlSettings | None = None
    """The third place of the control record; without it, all regions' storages hold it."""
    driver: Literal["api", "terraform", "command"] = "api"
    """How a region is flipped: over its REST API, by applying its Terraform folder, or by commands."""
    view: Literal["storage", "api"] = "storage"
    """How the controller sees how far regions are: in their storages, or by asking their servers."""
    pipelines: tuple[str, ...] = ()
    """The pipelines that move together, by name; all of a region's when empty."""
    terraform: str = "infra/regions/{region}"
    """The root module of a region, for the driver `terraform`."""
    commands: CommandSettings | None = None
    repoint: str | None = None
    """A shell command that sends consumers to `{region}`, run after each promotion."""
    consumers: tuple[ProfileConsumerSettings | UnityConsumerSettings, ...] = ()
    """What consumers read without a gateway, and is pointed at the active region after each promotion."""
    rpo: Duration | None = None
    """How much may be lost: `15m`. A failover that would lose more is refused."""
    rto: Duration | None = None
    """How long an outage may last: `1h`."""
    drill_every: Duration = 7 * 86_400.0
    """After how long without a drill `proa validate` warns."""
    alerts: AlertSettings = AlertSettings()
    """Whom `proa control` tells about lag beyond `rpo`, failed drills, drift and conflicts."""
    stable_url: str | None = None
    """The one address that consumers use, as the disaster-recovery API of `proa control` tells it."""


class GatewaySettings(_Model):
    """The one address that consumers read, `proa gateway`: Delta Sharing, and SQL that only reads."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = Field(default=8200, ge=0, lt=65536)
    """0 takes a free one."""
    address: str | None = None
    """Where consumers reach it, through a load balancer for example: `https://data.example.com`."""
    state: str | None = None
    """Path or URL of a folder that holds its recipients and the newest epoch that was served. All gateways
    behind one address share it; without it `.proa/gateway` in the project."""
    options: Mapping[str, str] = Field(default_factory=dict)
    """Object-store settings for `state`."""
    shares: Mapping[Name, tuple[str, ...]] = Field(default_factory=dict)
    """Shares and the tables of the pipeline in each; without any, one share of all public tables."""
    link_lifetime: Annotated[float, BeforeValidator(_duration), Field(ge=1, le=604_800)] = 3600.0
    """How long the links to files are good: `15m`."""
    grace: Duration = 10.0
    """How long the last known control record is believed while it cannot be read; then nothing is served."""
    patience: Annotated[float, BeforeValidator(_duration), Field(gt=0)] = 5.0
    """How long the active region's storage may take before the answer is 503."""


class AcceptedFinding(_Model):
    """An environment-dependence finding that the team lives with."""

    finding: str
    """The finding's code, or `code:dataset` to accept it for one dataset only."""
    reason: str = Field(min_length=1)
    """Why it may stay; `proa dry-run` prints it."""


def _off(value: Any) -> Any:
    """YAML takes a bare `off` for false."""
    return "off" if value is False else value


class ProjectSettings(_Model):
    """The whole of `proa.yml`, locations made absolute."""

    regions: Mapping[Name, RegionSettings] = Field(min_length=1)
    sources: Mapping[Name, SourceSettings] = Field(default_factory=dict)
    event_time: EventTimeSettings | None = None
    verify: VerifySettings = VerifySettings()
    dr_safety: Annotated[Literal["error", "warn", "off"] | None, BeforeValidator(_off)] = None
    """Whether findings forbid to run (`error`), are told (`warn`) or not looked for (`off`).
    When it is not set, they fail `proa dry-run`, and updates tell them and run."""
    accept: tuple[AcceptedFinding, ...] = ()
    recovery: RecoverySettings | None = None
    gateway: GatewaySettings = GatewaySettings()

    @property
    def regional_keys(self) -> frozenset[str]:
        """The configuration keys that each region sets for itself."""
        return frozenset(
            {
                LANDING_ZONE,
                *(
                    key
                    for region in self.regions.values()
                    for key in (*region.configuration, *region.table_keys)
                ),
            }
        )

    def region(self, name: str) -> RegionSettings:
        """The region called `name`; SettingsError, naming those there are, when there is none."""
        if name not in self.regions:
            raise SettingsError(
                f"there is no region {name!r} in {FILE_NAME}; it names {', '.join(self.regions)}"
            )
        return self.regions[name]


def load(path: Path, environ: Mapping[str, str] | None = None) -> ProjectSettings:
    """Read a `proa.yml`. Relative locations are taken from the file's folder.

    Raises SettingsError that names the file and the key.
    """
    try:
        file = read_yaml(path)
    except FileNotFoundError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    data = {} if file.data is None else file.data
    if not isinstance(data, dict):
        raise SettingsError(f"{path} must hold a mapping with the key 'regions'")
    data = _expand(data, os.environ if environ is None else environ, path)
    _make_absolute(data, path.parent.absolute())
    try:
        return ProjectSettings.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        problem = f"{where}: {_problem(first)}" if where else _problem(first)
        raise SettingsError(file.mistake(problem, first["loc"])) from error


def _problem(error: Mapping[str, Any]) -> str:
    """Say what a validation error is about, in a word's own spelling."""
    if error["type"] == "extra_forbidden":
        return "there is no such key; see docs/reference/settings.md"
    message: str = error["msg"]
    return message[:1].lower() + message[1:]


def _expand(value: Any, environ: Mapping[str, str], path: Path) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, environ, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, environ, path) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environ:
            raise SettingsError(f"{path}: the environment variable {name!r} is not set")
        return environ[name]

    return re.sub(r"\$\{(\w+)\}", replace, value)


def _make_absolute(data: dict[str, Any], base: Path) -> None:
    recovery = data.get("recovery")
    control = recovery.get("control") if isinstance(recovery, dict) else None
    gateway = data.get("gateway")
    for entry, key in ((recovery, "terraform"), (control, "path"), (gateway, "state")):
        if isinstance(entry, dict) and isinstance(entry.get(key), str):
            entry[key] = absolute(entry[key], base)
    consumers = recovery.get("consumers") if isinstance(recovery, dict) else None
    for entry in consumers if isinstance(consumers, list) else ():
        _make_profiles_absolute(entry, base)
    for group, keys in (("regions", ("landing_zone", "storage")), ("sources", ("path", "journal"))):
        entries = data.get(group)
        for entry in entries.values() if isinstance(entries, dict) else ():
            for key in keys:
                if isinstance(entry, dict) and isinstance(entry.get(key), str):
                    entry[key] = absolute(entry[key], base)
            tables = entry.get("tables") if isinstance(entry, dict) else None
            if isinstance(tables, dict):
                entry["tables"] = {
                    name: absolute(path, base) if isinstance(path, str) else path
                    for name, path in tables.items()
                }


def _make_profiles_absolute(entry: Any, base: Path) -> None:
    if not isinstance(entry, dict) or not isinstance(entry.get("profile"), str):
        return
    entry["profile"] = absolute(entry["profile"], base)
    if isinstance(entry.get("regions"), dict):
        entry["regions"] = {
            name: absolute(path, base) if isinstance(path, str) else path
            for name, path in entry["regions"].items()
        }


THROUGH = "proa.through"
"""A parameter of an update: the last file of each source that it reads, in the words of `file_numbers`."""


def file_numbers(text: str, option: str) -> dict[str, int]:
    """Read the number of a file by source, written as `orders=120,events=7`.

    Raises SettingsError, which names the option, if `text` is something else.
    """
    numbers: dict[str, int] = {}
    for part in text.split(","):
        source, _, number = part.strip().partition("=")
        if not source or not number.isdecimal() or source in numbers:
            raise SettingsError(
                f"{option} {text!r} does not give a number for each source; write it like"
                " orders=120,events=7"
            )
        numbers[source] = int(number)
    return numbers


def file_numbers_text(numbers: Mapping[str, int]) -> str:
    """Write the number of a file by source, as `file_numbers` reads it."""
    return ",".join(f"{source}={number}" for source, number in sorted(numbers.items()))
