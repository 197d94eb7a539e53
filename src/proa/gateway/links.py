"""Links to data files: they carry the right to read one file, for a while.

A bucket signs its own. Files on a disk are served by the gateway, behind links that it signs.
"""

from __future__ import annotations

import hashlib
import hmac
import urllib.parse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from proa.clock import Clock, Ids
from proa.errors import ConflictError, UnknownOutcome
from proa.http.api_errors import PermissionDeniedError
from proa.storage import Store, is_url
from proa.times import millis

FILES = "/delta-sharing/files/"
_KEY = "link-key"


@dataclass(frozen=True)
class FilePlace:
    """A file on a disk that a link leads to."""

    region: str
    dataset: str
    path: str
    """Relative to the table."""


@dataclass(frozen=True)
class LinkedTable:
    """A table whose files links lead to."""

    region: str
    dataset: str
    url: str
    options: Mapping[str, str]


class Links:
    """Makes links, and tells its own from others."""

    def __init__(self, key: bytes, clock: Clock, lifetime_s: float) -> None:
        self._key = key
        self._clock = clock
        self._lifetime_s = lifetime_s

    def sign(self, table: LinkedTable, paths: Sequence[str], base: str) -> tuple[list[str], int]:
        """A URL for each file of a table, and when they end, in milliseconds since 1970.

        `base` is where the client reaches the gateway: scheme, host and port.
        """
        until = millis(self._clock.now()) + int(1000 * self._lifetime_s)
        if is_url(table.url):
            return Store.open(table.url, table.options).sign(paths, self._lifetime_s), until
        places = (FilePlace(table.region, table.dataset, path) for path in paths)
        return [f"{base}{self._target(place, until)}" for place in places], until

    def check(self, place: FilePlace, until: int, signature: str) -> None:
        """Raise PermissionDeniedError unless the link is ours and still good."""
        expected = self._signature(place, until)
        if not hmac.compare_digest(signature.encode("utf-8", "surrogateescape"), expected.encode()):
            raise PermissionDeniedError("the link is not one that this gateway gave out")
        if until < millis(self._clock.now()):
            raise PermissionDeniedError("the link is over; ask for the table again")

    def _target(self, place: FilePlace, until: int) -> str:
        # Twice: a server undoes it once before it cuts a path into parts.
        dataset = urllib.parse.quote(place.dataset, safe="")
        parts = (place.region, dataset, *place.path.split("/"))
        path = "/".join(urllib.parse.quote(part, safe="") for part in parts)
        # `sp=r` and `sig` stand in the links of Azure's buckets: by them clients know that a link
        # carries its right. Some take it for a file's name otherwise.
        signature = self._signature(place, until)
        query = urllib.parse.urlencode({"sp": "r", "until": until, "sig": signature})
        return f"{FILES}{path}?{query}"

    def _signature(self, place: FilePlace, until: int) -> str:
        text = "\n".join((place.region, place.dataset, place.path, str(until)))
        return hmac.new(
            self._key, text.encode("utf-8", "surrogateescape"), hashlib.sha256
        ).hexdigest()


def link_key(store: Store, ids: Ids) -> bytes:
    """The key that all gateways of one state sign with; made when there is none."""
    with suppress(ConflictError, UnknownOutcome):
        store.create(_KEY, f"{ids.new()}{ids.new()}".encode())
    return store.get(_KEY)
