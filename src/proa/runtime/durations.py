"""Lengths of time as people write them."""

from __future__ import annotations

import re

from proa.errors import SettingsError

_UNITS = {"ms": 0.001, "millisecond": 0.001, "s": 1, "second": 1, "m": 60, "minute": 60, "h": 3600}
_UNITS |= {"hour": 3600, "d": 86400, "day": 86400, "w": 604800, "week": 604800}


def seconds(text: str, what: str) -> float:
    """A duration ("15 minutes", "10s", "interval 7 days"); SettingsError when it is none.

    `what` is the setting that says so.
    """
    found = re.fullmatch(r"\s*(?:interval\s+)?(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text.lower())
    unit = (
        None
        if found is None
        else _UNITS.get(found.group(2)) or _UNITS.get(found.group(2).rstrip("s"))
    )
    if found is None or unit is None:
        raise SettingsError(
            f"{what} must be a duration such as '10 seconds' or '5 minutes', not {text!r}"
        )
    return float(found.group(1)) * unit
