"""Shares: which tables of the active region's pipeline consumers see, and under which names."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from proa.errors import SettingsError, UnavailableError
from proa.http.api_errors import MissingError
from proa.pipelines.identifiers import name_parts
from proa.runtime.declared import DeclaredPipeline, read_declared, table_urls
from proa.settings import ProjectSettings, RegionSettings
from proa.storage import is_url
from proa.text import suggestion

DEFAULT_SCHEMA = "default"
_NOT_IN_NAMES = re.compile(r"[\x00-\x20/\x7f]")
"""What no name of the protocol may hold; names of schemas and tables have no period either."""


@dataclass(frozen=True)
class Published:
    """What a region's pipeline declares for consumers, and has."""

    pipeline: str
    schema: str
    """Where datasets are that name no schema."""
    urls: Mapping[str, str]
    """By the datasets' names: where their tables are."""


@dataclass(frozen=True)
class SharedTable:
    """One table in one share."""

    share: str
    schema: str
    name: str
    dataset: str
    url: str

    @property
    def table_id(self) -> str:
        """The id of the table in every region: consumers keep it over a failover."""
        return _stable_id("table", self.dataset)

    @property
    def share_id(self) -> str:
        """The id of its share."""
        return share_id(self.share)


def read_published(region: str, settings: RegionSettings) -> Published:
    """What a region publishes now. Raises UnavailableError when its storage does not answer."""
    storage = settings.storage.rstrip("/")
    if not is_url(storage) and not Path(storage).is_dir():
        raise UnavailableError(f"the storage of region {region!r} is not there: {storage!r}")
    declared = read_declared(storage, settings.options)
    if declared is None:
        return Published("", DEFAULT_SCHEMA, {})
    name, _, schema = declared.identity
    urls = table_urls(storage, settings.options, declared)
    return Published(
        name,
        schema or DEFAULT_SCHEMA,
        {
            dataset: urls[dataset]
            for dataset, table in declared.tables.items()
            if dataset in urls and not table.private
        },
    )


class Shares:
    """The shares as they are now, for a recipient who may read them all."""

    def __init__(self, published: Published, shares: Mapping[str, Sequence[str]]) -> None:
        """`shares` are those of `proa.yml`; without any, all tables are one share."""
        datasets = {dataset.lower(): dataset for dataset in published.urls}
        chosen: dict[str, list[str]] = (
            {
                share: [datasets[name.lower()] for name in names if name.lower() in datasets]
                for share, names in shares.items()
            }
            if shares
            else {_plain_name(published.pipeline): list(published.urls)}
        )
        self._tables: dict[str, tuple[str, dict[str, dict[str, SharedTable]]]] = {}
        for share, members in chosen.items():
            if not share:
                continue  # nothing was published yet
            _, schemas = self._tables.setdefault(share.lower(), (share, {}))
            for dataset in members:
                table = _shared_table(share, dataset, published)
                schemas.setdefault(table.schema.lower(), {})[table.name.lower()] = table

    def names(self) -> list[str]:
        """The names of the shares, sorted."""
        return sorted(name for name, _ in self._tables.values())

    def share(self, share: str) -> str:
        """A share's name as it is written. Raises MissingError when there is none."""
        return self._share(share)[0]

    def schemas(self, share: str) -> list[str]:
        """The names of a share's schemas, sorted. Raises MissingError when there is no such share."""
        _, schemas = self._share(share)
        return sorted(next(iter(tables.values())).schema for tables in schemas.values())

    def tables(self, share: str, schema: str | None = None) -> list[SharedTable]:
        """The tables of a share, or of one schema of it, sorted. Raises MissingError."""
        name, schemas = self._share(share)
        if schema is not None and schema.lower() not in schemas:
            raise MissingError(f"the share {name!r} has no schema {schema!r}")
        chosen = schemas.values() if schema is None else [schemas[schema.lower()]]
        tables = [table for group in chosen for table in group.values()]
        return sorted(tables, key=lambda table: (table.schema, table.name))

    def table(self, share: str, schema: str, table: str) -> SharedTable:
        """One table. Raises MissingError, which says what there is not."""
        tables = {one.name.lower(): one for one in self.tables(share, schema)}
        if table.lower() not in tables:
            near = suggestion(table, [one.name for one in tables.values()])
            raise MissingError(
                f"the schema {schema!r} of the share {share!r} has no table {table!r}{near}"
            )
        return tables[table.lower()]

    def _share(self, share: str) -> tuple[str, dict[str, dict[str, SharedTable]]]:
        if share.lower() not in self._tables:
            raise MissingError(f"there is no share {share!r}{suggestion(share, self.names())}")
        return self._tables[share.lower()]


def share_id(share: str) -> str:
    """The id of a share, for ever."""
    return _stable_id("share", share)


def check_shares(settings: ProjectSettings, declared: DeclaredPipeline) -> None:
    """Raise SettingsError for a table in a share that the pipeline does not publish."""
    public = {name for name, table in declared.tables.items() if not table.private}
    known = {name.lower() for name in public}
    for share, names in settings.gateway.shares.items():
        for index, name in enumerate(names):
            if name.lower() not in known:
                raise SettingsError(
                    f"the pipeline has no public table {name!r}{suggestion(name, public)}",
                    keys=("gateway", "shares", share, str(index)),
                )


def _shared_table(share: str, dataset: str, published: Published) -> SharedTable:
    *above, name = name_parts(dataset)
    schema = above[-1] if above else published.schema
    url = published.urls[dataset]
    schema, name = (_plain_name(part).replace(".", "_") for part in (schema, name))
    return SharedTable(share, schema, name, dataset, url)


def _plain_name(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name)


def _stable_id(kind: str, name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"proa:{kind}:{name}"))
