"""Verify: do two regions hold the same rows?

Regions are compared where they have processed the same raw files: at the newest version of each table
for which that is so. A region that is merely behind is not different; it is said how far it is behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from proa.errors import SettingsError
from proa.recovery.by_storage import RawFile, StoredRegion
from proa.recovery.compare import Comparison, Rules, compare
from proa.settings import VerifySettings
from proa.storage import NotFoundError

MOST_VERSIONS = 200
"""How many versions of a table are looked at for one with the same files as the other region's."""


class Verdict(StrEnum):
    """What is known about a table in two regions."""

    EQUAL = "equal"
    DIFFERENT = "different"
    MISSING = "missing"
    """One region does not have the table."""
    BEHIND = "behind"
    """There are no two versions that hold the same files."""


@dataclass(frozen=True)
class TableReport:
    """A table in two regions."""

    table: str
    verdict: Verdict
    sentence: str
    versions: tuple[int, int] = (-1, -1)
    """The versions that were compared; -1 where there is none."""
    files: int = 0
    """The raw files that both of these versions hold."""
    behind: tuple[int, int] = (0, 0)
    """How many files of the other region's newest version each region has not processed."""
    comparison: Comparison | None = None


def rules_of(settings: VerifySettings, table: str) -> Rules:
    """What proa.yml says counts as equal for `table`."""
    ignore = (*settings.ignore.get("*", ()), *settings.ignore.get(table, ()))
    return Rules(
        key=tuple(settings.keys.get(table, ())), tolerance=settings.tolerance, ignore=ignore
    )


def verify(
    left: StoredRegion,
    right: StoredRegion,
    rules: Callable[[str], Rules],
    tables: Sequence[str] = (),
) -> Iterator[TableReport]:
    """Compare `tables`, or all tables of both regions, one after the other.

    Raises UnavailableError when a region does not answer, SettingsError for a table that no region
    has.
    """
    names = [set(region.lineage.datasets()) for region in (left, right)]
    for table in tables:
        if table not in names[0] | names[1]:
            raise SettingsError(
                f"there is no table {table!r} in {left.name} or {right.name}; there are"
                f" {', '.join(sorted(names[0] | names[1])) or 'none'}"
            )
    for table in tables or sorted(names[0] | names[1]):
        missing = [
            region.name
            for region, there in zip((left, right), names, strict=True)
            if table not in there
        ]
        if missing:
            versions = (_newest(left, table), _newest(right, table))
            sentence = f"{table} does not exist in {missing[0]}"
            yield TableReport(table, Verdict.MISSING, sentence, versions)
        else:
            yield _verify(left, right, table, rules(table))


def _verify(left: StoredRegion, right: StoredRegion, table: str, rules: Rules) -> TableReport:
    common = _common(left, right, table)
    behind = common.behind
    if common.versions is None:
        sentence = f"{table} cannot be compared: {_lagging(left, right, behind)}"
        return TableReport(table, Verdict.BEHIND, sentence, behind=behind)
    versions = common.versions
    for region, version in zip((left, right), versions, strict=True):
        held = region.lineage.table(table)
        held.check(held.files(version))
    found = compare(left.rows(table, versions[0]), right.rows(table, versions[1]), rules)
    verdict = Verdict.EQUAL if found.equal else Verdict.DIFFERENT
    sentence = f"{table} {_told(found, left, right)}"
    if any(behind):
        sentence += f", at the {common.files} files that both have; {_lagging(left, right, behind)}"
    return TableReport(table, verdict, sentence, versions, common.files, behind, found)


def _told(found: Comparison, left: StoredRegion, right: StoredRegion) -> str:
    if found.equal:
        within = f" ({found.tolerated} within the tolerance)" if found.tolerated else ""
        return f"is equal: {found.rows[0]} rows{within}"
    parts = list(found.schema)
    if found.changed:
        parts.append(f"{found.changed} rows have other values")
    parts += [
        f"{count} rows are only in {region.name}"
        for region, count in zip((left, right), found.only, strict=True)
        if count
    ]
    return f"is different: {'; '.join(parts)}"


def _lagging(left: StoredRegion, right: StoredRegion, behind: tuple[int, int]) -> str:
    parts = [
        f"{region.name} is {count} file{'s' * (count != 1)} behind"
        for region, count in zip((left, right), behind, strict=True)
        if count
    ]
    return " and ".join(parts) or "there are no versions that hold the same files"


@dataclass(frozen=True)
class _Common:
    versions: tuple[int, int] | None
    files: int
    behind: tuple[int, int]


def _common(left: StoredRegion, right: StoredRegion, table: str) -> _Common:
    """The newest versions of a table that hold the same files in both regions."""
    newest = (_newest(left, table), _newest(right, table))
    contents = [
        region.lineage.contents(table, version)
        for region, version in zip((left, right), newest, strict=True)
    ]
    if not contents[0].known and not contents[1].known:
        # Nobody knows what they were made from: they are taken as they are.
        return _Common(newest, 0, (0, 0))
    files = [
        region.raw_files(one).keys() for region, one in zip((left, right), contents, strict=True)
    ]
    behind = (len(files[1] - files[0]), len(files[0] - files[1]))
    if not any(behind):
        return _Common(newest, len(files[0]), behind)
    seen: Mapping[frozenset[RawFile], int] = _versions(right, table, newest[1])
    for held, version in _versions(left, table, newest[0]).items():
        if held and held in seen:
            return _Common((version, seen[held]), len(held), behind)
    return _Common(None, 0, behind)


def _versions(region: StoredRegion, table: str, newest: int) -> dict[frozenset[RawFile], int]:
    """The newest version for each set of files that a table has held, newest first."""
    found: dict[frozenset[RawFile], int] = {}
    for version in islice(range(newest, -1, -1), MOST_VERSIONS):
        try:
            held = frozenset(region.raw_files(region.lineage.contents(table, version)))
        except NotFoundError:
            break  # the log was maintained: older versions are gone
        found.setdefault(held, version)
    return found


def _newest(region: StoredRegion, table: str) -> int:
    return region.lineage.version(table)
