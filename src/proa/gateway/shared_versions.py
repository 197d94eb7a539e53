"""Versions as consumers see them: they grow over failovers, though each region counts its own.

A region's versions say nothing about another's. What consumers see is the pair (epoch, region's version),
written as one number, so it grows with either. No state is needed for it, and all gateways agree.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from proa.errors import UnavailableError
from proa.gateway.active_region import Serving
from proa.http.api_errors import InvalidParameterError

SPAN = 1_000_000_000
"""How many versions a table may have in one epoch. In decimal, so that people can read the two parts."""


def shared_version(epoch: int, version: int) -> int:
    """What consumers see of a region's version of a table; in the first epoch they are the same."""
    return (epoch - 1) * SPAN + version


def parse_version(shared: int) -> tuple[int, int]:
    """The epoch and the region's version that a number of `shared_version` stands for."""
    epoch, version = divmod(shared, SPAN)
    return epoch + 1, version


class VersionLine:
    """What was served of each table: no smaller version follows a greater one."""

    def __init__(self, region_in: Callable[[int], str | None]) -> None:
        """`region_in` says which region was active in an epoch."""
        self._region_in = region_in
        self._highest: dict[str, int] = {}
        self._lock = threading.Lock()

    def advance(self, table: str, serving: Serving, version: int) -> int:
        """What consumers see of the newest version of a table. UnavailableError when that would go back."""
        shared = shared_version(serving.epoch, version)
        with self._lock:
            highest = self._highest.get(table, -1)
            if shared < highest:
                raise UnavailableError(
                    f"the table {table!r} of {serving.region} has begun anew at version {version};"
                    " consumers have seen newer ones, so it is served again when it has passed them"
                    " or in the next epoch (`proa switchover`)"
                )
            self._highest[table] = shared
        return shared

    def region_version(self, shared: int, serving: Serving) -> int:
        """The active region's version that a version asked for means.

        Raises InvalidParameterError for one of another region: that region's rows are not here.
        """
        epoch, version = parse_version(shared)
        if epoch > serving.epoch or shared < 0:
            raise InvalidParameterError(f"there is no version {shared} yet")
        region = self._region_in(epoch)
        if region != serving.region:
            raise InvalidParameterError(
                f"version {shared} was served by another region, in epoch {epoch}; now it is epoch"
                f" {serving.epoch}, whose versions begin at {shared_version(serving.epoch, 0)}:"
                " read the newest version, or ask by timestamp"
            )
        return version
