"""Which names are files, for all who list a folder: the shipper, the Auto Loader, and who judges them.

The rule is Spark's. A part of a path that begins with "." or "_" hides what lies below it, but
"_name=value" is a partition's folder. Names of programs that are still writing are for the shipper
to leave out: what lies in a landing zone under such a name was put there on purpose.
"""

from __future__ import annotations

import re
from enum import StrEnum

HIDDEN = r"(?:^|/)(?:\.|_[^=/]*(?:/|$))|\._COPYING_$"
"""Matches the paths of hidden files; an expression of Python's and of RE2's."""
_HIDDEN = re.compile(HIDDEN)
_TEMPORARY = re.compile(
    r"(\.(tmp|temp|part|partial|filepart|crdownload|inprogress|swp|_COPYING_)|~|#\d+)$",
    re.IGNORECASE,
)
_OWN = "_proa/"


class LeftOut(StrEnum):
    """Why a file is not shipped, judged by its name."""

    HIDDEN = "hidden"
    UNFINISHED = "unfinished"


def is_hidden(path: str) -> bool:
    """Whether Spark hides the file at `path`, which is relative to the folder that is listed."""
    return _HIDDEN.search(path) is not None


def is_temporary(path: str) -> bool:
    """Whether `path` is named as programs name what they are still writing."""
    return _TEMPORARY.search(path) is not None


def is_own(path: str) -> bool:
    """Whether Proa itself put the file there: a manifest, not data."""
    return path.startswith(_OWN)


def left_out(path: str) -> LeftOut | None:
    """Why the file at `path` is not shipped; None for a file that is."""
    if is_hidden(path):
        return LeftOut.HIDDEN
    return LeftOut.UNFINISHED if is_temporary(path) else None
