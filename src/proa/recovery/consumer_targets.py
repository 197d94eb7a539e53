"""What consumers read without a gateway: profile files and registered tables that follow the active region.

Each target says where it points, and can be pointed at a region again and again. A target is pointed only
after the region is promoted, so it never leads to a region that has not caught up.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from deltalake import DeltaTable

from proa.errors import ConflictError, ProaError, SettingsError, UnavailableError, UserError
from proa.extras import needs
from proa.layout import Layout
from proa.recovery.by_storage import StoredRegion
from proa.recovery.driver import run_command
from proa.settings import (
    ProfileConsumerSettings,
    ProjectSettings,
    RecoverySettings,
    UnityConsumerSettings,
)
from proa.storage import QUICK_ANSWERS, NotFoundError, Store, is_url


class ConsumerTarget(Protocol):
    """Something that consumers read, and that leads to one region."""

    @property
    def title(self) -> str:
        """What it is, for people."""

    def regions(self) -> frozenset[str]:
        """The regions that it leads to: one, or several that are the same to consumers, or none as a whole."""

    def point_at(self, region: str) -> None:
        """Let it lead to a region. Raises UnavailableError when it cannot be changed now."""

    def explain(self, region: str) -> str:
        """Say what `point_at` would do."""


@dataclass(frozen=True)
class TargetState:
    """Where a target leads now."""

    title: str
    regions: frozenset[str] = frozenset()
    error: ProaError | None = None

    @property
    def place(self) -> str:
        """Where it leads, for people."""
        return " and ".join(sorted(self.regions)) or "no region"

    def drift(self, active: str) -> str | None:
        """Say how it does not lead to the active region. Returns None when it does, or nobody knows."""
        if self.error is not None or active in self.regions:
            return None
        return f"{self.title} leads to {self.place}, and {active} is active; `proa resume` points it there"


class Consumers:
    """All targets of a project, and the command that it names."""

    def __init__(
        self,
        targets: Sequence[ConsumerTarget] = (),
        command: str | None = None,
        folder: Path | None = None,
    ) -> None:
        self._targets = targets
        self._command = command
        self._folder = folder or Path()

    @classmethod
    def of(cls, settings: ProjectSettings, folder: Path | None = None) -> Consumers:
        """Those that `proa.yml` names. Raises SettingsError when one names a region that is not there."""
        recovery = settings.recovery or RecoverySettings()
        targets: list[ConsumerTarget] = [
            ProfileTarget(one, settings)
            if isinstance(one, ProfileConsumerSettings)
            else UnityTarget(one, settings)
            for one in recovery.consumers
        ]
        return cls(targets, recovery.repoint, folder)

    def repoint(self, region: str) -> None:
        """Send all consumers to a region. Tries each target, then raises the first one's error."""
        errors = []
        for target in self._targets:
            try:
                target.point_at(region)
            except ProaError as error:
                errors.append(error)
        if self._command is not None:
            run_command(self._command, region, self._folder)
        if errors:
            raise errors[0]

    def explain(self, region: str) -> list[str]:
        """Say what `repoint` would do, a sentence for each target."""
        return [target.explain(region) for target in self._targets]

    def states(self) -> list[TargetState]:
        """Where each target leads now."""
        states = []
        for target in self._targets:
            try:
                states.append(TargetState(target.title, target.regions()))
            except ProaError as error:
                states.append(TargetState(target.title, error=error))
        return states

    def drift(self, active: str) -> list[str]:
        """Say which targets lead elsewhere than to the active region."""
        sentences = (state.drift(active) for state in self.states())
        return [sentence for sentence in sentences if sentence is not None]


class ProfileTarget:
    """A profile file that is, byte for byte, the one of the active region."""

    def __init__(self, wanted: ProfileConsumerSettings, settings: ProjectSettings) -> None:
        self._wanted = wanted
        self.title = f"the profile {wanted.profile!r}"
        _check_regions(self.title, wanted.regions, settings)

    def regions(self) -> frozenset[str]:
        profiles = {name: self._profile(name) for name in self._wanted.regions}
        now = _read_file(self._wanted.profile, self._wanted.options)
        return frozenset(name for name, profile in profiles.items() if profile == now)

    def point_at(self, region: str) -> None:
        profile = self._profile(region)
        if _read_file(self._wanted.profile, self._wanted.options) != profile:
            store, name = _place_of(self._wanted.profile, self._wanted.options)
            store.put(name, profile)

    def explain(self, region: str) -> str:
        return f"{self.title} becomes that of {region}, {self._wanted.regions[region]!r}"

    def _profile(self, region: str) -> bytes:
        """A region's profile. Raises SettingsError when there is none, or it is no profile."""
        path = self._wanted.regions[region]
        data = _read_file(path, self._wanted.options)
        if data is None:
            raise SettingsError(
                f"there is no profile of {region} at {path!r}; put the file there that its sharing"
                " server gave out"
            )
        try:
            profile = json.loads(data)
        except ValueError:
            profile = None
        if not isinstance(profile, dict) or "endpoint" not in profile:
            raise SettingsError(f"{path!r} is not a Delta Sharing profile: it has no 'endpoint'")
        return data


class UnityTarget:
    """External tables of a Unity catalog, whose locations are those of the active region's tables."""

    def __init__(self, wanted: UnityConsumerSettings, settings: ProjectSettings) -> None:
        self._wanted = wanted
        self._settings = settings
        self._catalog, _, self._schema = wanted.into.partition(".")
        self.title = f"the tables of {wanted.into} in {wanted.unity.host}"

    def regions(self) -> frozenset[str]:
        places = {dataset: self._location(dataset) for dataset in self._datasets()}
        return frozenset(
            name
            for name in self._settings.regions
            if places
            and all(place == self._url(name, dataset) for dataset, place in places.items())
        )

    def point_at(self, region: str) -> None:
        here = self._look_at(region)
        for dataset in self._datasets():
            if here.lineage.version(dataset) < 0:
                continue  # nobody has written it; the next update, and `proa resume`, do
            wanted, now = self._url(region, dataset), self._location(dataset)
            if now == wanted:
                continue
            if now is not None:
                self._remove(dataset, now)
            self._register(region, dataset, wanted)

    def explain(self, region: str) -> str:
        return f"{self.title} are registered at the storage of {region}"

    def _datasets(self) -> list[str]:
        """The tables that are registered. Raises UnavailableError when no region says which there are."""
        if self._wanted.tables:
            return list(self._wanted.tables)
        errors = []
        for name in self._settings.regions:
            try:
                tables = self._look_at(name).lineage.declared_pipeline().tables
            except ProaError as error:
                errors.append(error)
                continue
            public = [dataset for dataset, table in tables.items() if not table.private]
            if public:
                return public
        if errors:
            raise UnavailableError(f"which tables there are is not known: {errors[0]}")
        return []

    def _look_at(self, region: str) -> StoredRegion:
        return StoredRegion.for_looks(region, self._settings.region(region))

    def _url(self, region: str, dataset: str) -> str:
        settings = self._settings.region(region)
        path = settings.tables.get(dataset) or Layout(settings.storage.rstrip("/")).table(dataset)
        return path if is_url(path) else Path(path).as_uri()

    def _full_name(self, dataset: str) -> str:
        return f"{self._catalog}.{self._schema}.{dataset.rpartition('.')[2]}"

    def _location(self, dataset: str) -> str | None:
        """Where a table is registered. Returns None when it is not."""
        from databricks.sdk.errors import NotFound

        with self._answers():
            try:
                table = self._client.tables.get(self._full_name(dataset))
            except NotFound:
                return None
        return str(table.storage_location).rstrip("/")

    def _remove(self, dataset: str, place: str) -> None:
        """Take a registration away. Raises ConflictError when it is not one of this project's tables."""
        name = self._full_name(dataset)
        if place not in {self._url(region, dataset) for region in self._settings.regions}:
            raise ConflictError(
                f"{name} is registered at {place!r}, which is in none of this project's regions;"
                " remove that table, or name another schema in recovery.consumers",
                condition="TABLE_OF_SOMEBODY_ELSE",
            )
        with self._answers():
            self._client.tables.delete(name)

    def _register(self, region: str, dataset: str, url: str) -> None:
        from databricks.sdk.service.catalog import ColumnInfo, DataSourceFormat, TableType

        table = self._look_at(region).lineage.table(dataset)
        schema = json.loads(DeltaTable(table.url, storage_options=table.options).schema().to_json())
        columns = [
            ColumnInfo.from_dict(_column(field, position))
            for position, field in enumerate(schema["fields"])
        ]
        with self._answers():
            self._client.tables.create(
                self._full_name(dataset).rpartition(".")[2],
                self._catalog,
                self._schema,
                TableType.EXTERNAL,
                DataSourceFormat.DELTA,
                url,
                columns=columns,
            )

    @cached_property
    def _client(self) -> Any:
        """A `databricks.sdk.WorkspaceClient` that gives up a silent server after 15 seconds."""
        with needs("control"):
            from databricks.sdk import WorkspaceClient
            from databricks.sdk.core import Config
        # What the client would print of a silent server is told by the error that comes of it.
        logging.getLogger("databricks.sdk").addHandler(logging.NullHandler())
        api = self._wanted.unity
        config = Config(
            host=api.host,
            token=api.token,
            auth_type="pat" if api.token else None,
            http_timeout_seconds=_ANSWER_S,
            retry_timeout_seconds=_RETRY_S,
        )
        return WorkspaceClient(config=config)

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Say the client's errors in Proa's kinds."""
        from databricks.sdk.errors import PermissionDenied, Unauthenticated
        from databricks.sdk.errors.base import DatabricksError

        host = self._wanted.unity.host
        try:
            yield
        except (Unauthenticated, PermissionDenied) as error:
            raise UserError(
                f"{host} refuses the token of recovery.consumers: {error}",
                condition="PERMISSION_DENIED",
            ) from error
        except (DatabricksError, OSError, TimeoutError, ValueError) as error:
            raise UnavailableError(f"{host} does not answer: {error}") from error


_ANSWER_S, _RETRY_S = 15, 3
"""For one answer, and for trying again: a black hole must not hold a failover."""
_TYPES = {"long": "bigint", "integer": "int", "short": "smallint", "byte": "tinyint"}
"""Delta's names of types, as SQL and Unity spell them, where they differ."""
_SIMPLE = re.compile(r"[a-z_]+")


def _column(field: Mapping[str, Any], position: int) -> dict[str, Any]:
    """A column as Unity's API describes it, from a field of a Delta schema."""
    text = _type_text(field["type"])
    match = _SIMPLE.match(text)
    name = (match[0] if match else "string").upper()
    return {
        "name": field["name"],
        "type_text": text,
        "type_name": {"BIGINT": "LONG", "SMALLINT": "SHORT", "TINYINT": "BYTE"}.get(name, name),
        "type_json": json.dumps(dict(field)),
        "nullable": field.get("nullable", True),
        "position": position,
    }


def _type_text(kind: Any) -> str:
    """A Delta type as SQL writes it: `array<bigint>`."""
    if isinstance(kind, str):
        return _TYPES.get(kind, kind)
    if kind["type"] == "array":
        return f"array<{_type_text(kind['elementType'])}>"
    if kind["type"] == "map":
        return f"map<{_type_text(kind['keyType'])},{_type_text(kind['valueType'])}>"
    fields = ",".join(f"{field['name']}:{_type_text(field['type'])}" for field in kind["fields"])
    return f"struct<{fields}>"


def _check_regions(title: str, regions: Mapping[str, str], settings: ProjectSettings) -> None:
    """Raise SettingsError when a target does not say something for each region."""
    lacking = [name for name in settings.regions if name not in regions]
    if lacking:
        raise SettingsError(
            f"{title} in recovery.consumers names no file for {lacking[0]!r}; after a failover to it"
            " consumers would be lost"
        )
    for name in regions:
        settings.region(name)


def _place_of(path: str, options: Mapping[str, str]) -> tuple[Store, str]:
    folder, _, name = path.rpartition("/")
    return Store.open(folder, {**QUICK_ANSWERS, **options}), name


def _read_file(path: str, options: Mapping[str, str]) -> bytes | None:
    """The bytes of a file. Returns None when it is not there."""
    if not is_url(path) and not Path(path).exists():
        return None
    store, name = _place_of(path, options)
    try:
        return store.get(name)
    except NotFoundError:
        return None
