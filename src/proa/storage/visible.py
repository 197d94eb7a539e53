"""Which of a source's files are files to ship, judged by their names."""

from __future__ import annotations

import re

_TEMPORARY = re.compile(
    r"(\.(tmp|temp|part|partial|filepart|crdownload|inprogress|swp|_COPYING_)|~|#\d+)$",
    re.IGNORECASE,
)


def is_hidden(path: str) -> bool:
    """Whether a part of `path` begins with an underscore or a dot, as Spark hides them."""
    return any(part[:1] in {"_", "."} for part in path.split("/"))


def is_temporary(path: str) -> bool:
    """Whether `path` is named as programs name what they are still writing."""
    return _TEMPORARY.search(path) is not None
