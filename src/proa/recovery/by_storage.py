"""A region as its storage and its landing zone show it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from proa.clock import Clock
from proa.errors import DataError, UnavailableError
from proa.lake.largest import largest_value
from proa.landing import Manifest
from proa.layout import Layout
from proa.recovery.contents import CheckpointPlaces, RegionContents, SourceFiles
from proa.runtime.declared import DeclaredPipeline
from proa.runtime.lineage import Lineage
from proa.settings import EventTimeSettings, RegionSettings
from proa.storage import QUICK_ANSWERS, ObjectInfo, Store, is_url
from proa.storage.visible import is_hidden
from proa.times import as_moment


@dataclass(frozen=True)
class StoredRegion:
    """One region. Looking never makes anything; what is not there is unavailable."""

    name: str
    settings: RegionSettings
    declared: DeclaredPipeline | None = field(default=None, compare=False)
    """What the pipeline declares now; None takes what the region's last update wrote down."""

    @classmethod
    def for_looks(
        cls, name: str, settings: RegionSettings, declared: DeclaredPipeline | None = None
    ) -> Self:
        """A region that is only looked at: a silence of five seconds is no answer."""
        options = {**QUICK_ANSWERS, **settings.options}
        return cls(name, settings.model_copy(update={"options": options}), declared)

    @cached_property
    def lineage(self) -> Lineage:
        """Its tables; none before the first run. UnavailableError when the region is not there."""
        if not _is_there(self.settings.landing_zone):
            _must_be_there(self.name, "storage", self.settings.storage)
        return Lineage(self.settings.storage, self.settings.options)

    @cached_property
    def zone(self) -> Store:
        """Its landing zone. UnavailableError when it is not there."""
        _must_be_there(self.name, "landing zone", self.settings.landing_zone)
        return Store.open(self.settings.landing_zone, self.settings.options)

    def contents(self, clock: Clock) -> RegionContents:
        """What its declared tables contain."""
        places = CheckpointPlaces(Layout(self.settings.storage.rstrip("/")), self.settings.options)
        declared = self.declared or self.lineage.declared_pipeline()
        return RegionContents(self.lineage, declared, places, clock)

    def manifest(self, source: str) -> pa.Table:
        """What was shipped of a source to its landing zone, as `proa.landing.manifest.SCHEMA`."""
        return Manifest(self.zone, source).table()

    def folder(self, source: str) -> str:
        """The absolute folder of a source in the landing zone."""
        return f"{self.settings.landing_zone.rstrip('/')}/{source}"

    def source_files(
        self, source: str, paths: Iterable[str] | pa.ChunkedArray, landed: int
    ) -> SourceFiles:
        """Files of a source, of which the first `landed` lie in the landing zone."""
        array = (
            paths.combine_chunks()
            if isinstance(paths, pa.ChunkedArray)
            else pa.array(paths, pa.string())
        )
        return SourceFiles(self.folder(source), array, np.arange(len(array)) < landed)

    def list_source(self, source: str) -> list[ObjectInfo]:
        """The visible files of a source's folder, paths below the landing zone."""
        return [
            info
            for info in self.zone.walk(source)
            if not is_hidden(info.path.removeprefix(f"{source}/"))
        ]

    def latest_event(self, event_time: EventTimeSettings | None) -> datetime | None:
        """The latest event in the table that the settings name; None while there is none."""
        if event_time is None or event_time.table not in self.lineage.datasets():
            return None
        table = self.lineage.table(event_time.table)
        names = {name.lower(): name for name in table.schema.names}
        column = names.get(event_time.column.lower())
        if column is None:
            raise DataError(
                f"the table {event_time.table!r} of region {self.name!r} has no column"
                f" {event_time.column!r}; correct event_time in proa.yml. It has"
                f" {', '.join(names.values())}",
                condition="INVALID_SETTING",
            )
        return as_moment(largest_value(table, column))

    def rows(self, dataset: str, version: int) -> Any:
        """A version of a table, as a pyarrow dataset."""
        url = self.lineage.table(dataset).url
        try:
            table = DeltaTable(url, version=version, storage_options=dict(self.settings.options))
            return table.to_pyarrow_dataset()
        except (DeltaError, OSError) as error:
            raise UnavailableError(
                f"cannot read version {version} of the table {url!r}: {error}"
            ) from error


def _must_be_there(region: str, what: str, location: str) -> None:
    if not _is_there(location):
        raise UnavailableError(f"the {what} of region {region!r} is not there: {location!r}")


def _is_there(location: str) -> bool:
    return is_url(location) or Path(location).is_dir()
