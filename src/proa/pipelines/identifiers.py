"""Names of datasets: when are two spellings the same name?"""

from __future__ import annotations

import re
from dataclasses import dataclass

from proa.text import quote_identifier

_PART = re.compile(r"`((?:[^`]|``)*)`|[^.`]+")


def name_parts(name: str) -> tuple[str, ...]:
    """The parts of a name, backticks removed: "`a.b`.c" has two."""
    return tuple(
        match.group(1).replace("``", "`") if match.group(1) is not None else match.group().strip()
        for match in _PART.finditer(name)
    )


def plain_name(name: str) -> str:
    """The name with backticks only where a part needs them: "main.`my table`" is "main.my table"."""
    return ".".join(
        quote_identifier(part) if "." in part or "`" in part or part != part.strip() else part
        for part in name_parts(name)
    )


@dataclass(frozen=True)
class Namespace:
    """The pipeline's default catalog and database, which names may leave out."""

    catalog: str | None = None
    database: str | None = None

    def key(self, name: str) -> str:
        """Equal for all spellings of one name: case, backticks, `LIVE.` and defaults removed."""
        found = [part.casefold() for part in name_parts(name)]
        if len(found) > 1 and found[0] == "live":
            del found[0]
        if len(found) == 3 and self.catalog and found[0] == self.catalog.casefold():
            del found[0]
        if len(found) == 2 and self.database and found[0] == self.database.casefold():
            del found[0]
        return ".".join(found)
