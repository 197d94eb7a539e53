"""Columns that USING joins by: the engine has one of each and forgets the tables' own, Spark knows both.

What a table calls its own is written as the common column where both have the same value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class JoinKeys:
    """The tables of a FROM and which of their columns USING has joined them by."""

    tables: list[str] = field(default_factory=list)
    """Names in lower case, in order; "" for one without a name."""
    known: dict[str, dict[str, bool]] = field(default_factory=dict)
    """Table -> column in lower case -> whether the common column has its value."""

    @classmethod
    def of(cls, table: str) -> JoinKeys:
        """The keys of one table: none."""
        return cls([table.lower()], {})

    def join(self, right: JoinKeys, side: str, keys: Sequence[str]) -> JoinKeys:
        """The keys of a join; `side` is "left", "right" or "full", "semi" or "anti", or "" for an inner one."""
        alone = side in {"semi", "anti"}
        right = JoinKeys() if alone else right
        joined = JoinKeys([*self.tables, *right.tables], {**self.known, **right.known})
        for key in map(str.lower, keys):
            for part, kept in (
                (self, alone or side in {"", "left"}),
                (right, side in {"", "right"}),
            ):
                holders = [name for name in part.tables if key in part.known.get(name, {})]
                for name in holders or part.tables:
                    same = kept and (part.known[name][key] if holders else len(part.tables) == 1)
                    joined.known.setdefault(name, {})
                    joined.known[name] = {**joined.known[name], key: same}
        return joined

    def of_table(self, name: str) -> dict[str, bool]:
        """The keys of a table that is named once. Returns {} for any other."""
        folded = name.lower()
        return self.known.get(folded, {}) if self.tables.count(folded) == 1 else {}
