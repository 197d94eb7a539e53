"""A region as recovery sees it: its tables, what they hold, and its landing zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from proa.errors import UnavailableError
from proa.runtime.lineage import Contents, Lineage
from proa.settings import RegionSettings
from proa.storage import Store, is_url


@dataclass(frozen=True)
class RawFile:
    """A raw file, named alike in every region."""

    source: str
    """The folder below the landing zone; empty for a file that lies elsewhere."""
    path: str
    """Below that folder; absolute for a file that lies elsewhere."""


@dataclass(frozen=True)
class StoredRegion:
    """One region. Looking never makes anything; what is not there is unavailable."""

    name: str
    settings: RegionSettings

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

    def raw_files(self, contents: Contents) -> Mapping[RawFile, int]:
        """The raw files of `contents` with their sizes, by names that mean the same in all regions."""
        zone = self.settings.landing_zone.rstrip("/") + "/"
        found = {}
        for path, size in contents.files.items():
            if path.startswith(zone):
                source, _, rest = path[len(zone) :].partition("/")
                found[RawFile(source, rest) if rest else RawFile("", source)] = size
            else:
                found[RawFile("", path)] = size
        return found

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
