"""Verify: do two regions hold the same rows?

Regions are compared where they have processed the same raw files: at the newest version of each table
for which that is so. A region that is merely behind is not different; it is said how far it is behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from proa.errors import SettingsError
from proa.recovery.by_storage import StoredRegion
from proa.recovery.common_files import FileLedger, find_common
from proa.recovery.compare import Comparison, Rules, compare
from proa.recovery.kept_sums import KeptSums
from proa.settings import VerifySettings


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
        key=tuple(settings.keys.get(table, ())),
        tolerance=settings.tolerance,
        tolerances=settings.tolerances.get(table, {}),
        ignore=ignore,
    )


def verify(
    left: StoredRegion,
    right: StoredRegion,
    rules: Callable[[str], Rules],
    tables: Sequence[str] = (),
    kept: KeptSums | None = None,
) -> Iterator[TableReport]:
    """Compare `tables`, or all that a pipeline of the regions declares, one after the other.

    Tables that a pipeline once fed and does not declare any more are left out. With `kept`, files that an
    earlier proof has read are not read again.

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
    ledgers = (FileLedger(left), FileLedger(right))
    for table in tables or sorted(names[0] | names[1]):
        if not tables and not any(_counts(ledger, table) for ledger in ledgers):
            continue
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
            yield _verify(ledgers, table, rules(table), kept)


def _counts(ledger: FileLedger, table: str) -> bool:
    """Whether a table is declared, or is nothing that Proa has written."""
    return table in ledger.region.lineage.declared_pipeline().tables or (
        ledger.newest(table) >= 0 and not ledger.is_known(table)
    )


def _verify(
    ledgers: tuple[FileLedger, FileLedger], table: str, rules: Rules, kept: KeptSums | None
) -> TableReport:
    left, right = (ledger.region for ledger in ledgers)
    common = find_common(*ledgers, table)
    behind = common.behind
    if common.versions is None:
        sentence = f"{table} cannot be compared: {_lagging(left, right, behind)}"
        return TableReport(table, Verdict.BEHIND, sentence, behind=behind)
    versions = common.versions
    for region, version in zip((left, right), versions, strict=True):
        held = region.lineage.table(table)
        held.check(held.files(version))
    sides = (left.rows(table, versions[0]), right.rows(table, versions[1]))
    if kept is None:
        found = compare(*sides, rules)
    else:
        found = kept.compare(table, (left.name, right.name), sides, rules)
    verdict = Verdict.EQUAL if found.equal else Verdict.DIFFERENT
    sentence = f"{table} {_difference_lines(found, left, right)}"
    if any(behind):
        sentence += f", at the {common.files} files that both have; {_lagging(left, right, behind)}"
    return TableReport(table, verdict, sentence, versions, common.files, behind, found)


def _difference_lines(found: Comparison, left: StoredRegion, right: StoredRegion) -> str:
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


def _newest(region: StoredRegion, table: str) -> int:
    return region.lineage.version(table)
