"""`proa verify`: whether two regions hold the same rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proa.cli.exit_codes import ANSWER_IS_NO
from proa.cli.output import console, print_json, stderr
from proa.cli.project import JsonOption, ProjectOption, find_project, load_regions
from proa.errors import SettingsError

if TYPE_CHECKING:
    from proa.recovery import Comparison, Rules, TableReport
    from proa.recovery.kept_sums import KeptSums
    from proa.settings import ProjectSettings


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("verify")(verify)


def verify(
    tables: Annotated[
        list[str] | None,
        typer.Option("--tables", metavar="T,..", help="Only these tables; default: all."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key", metavar="[T=]COL,..", help="Columns that tell the rows (of T) apart."
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="[T=]COL,..", help="Columns (of T) that may differ."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance", min=0.0, help="Floats may differ by this, relative to max(1, |x|)."
        ),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option("--region", metavar="R", help="Compare these two; default: the first two."),
    ] = None,
    incremental: Annotated[
        bool,
        typer.Option(
            "--incremental", help="Read only files that no earlier proof of this project has read."
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Write a report as well: a page (.html) or facts (.json).",
        ),
    ] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the tables of two regions, row by row.

    Tables are compared at versions that hold the same raw files. Where rows differ, they are shown
    with their key and the columns that differ. The settings `verify` in proa.yml say the same as the
    options. With --incremental the answer is the same; files whose bytes were changed in place since they
    were read are found by a whole comparison only.

    Exit codes: 0 all tables are equal; 1 one differs, is missing, or cannot be compared because a region
    is behind; 3 a region does not answer.

    Example: proa verify --tables daily_departures --tolerance 1e-9
    """
    if report is not None and report.suffix not in {".html", ".json"}:
        raise SettingsError(f"--report {report} must end with .html or .json")
    settings = load_regions(project)
    keys, ignored = _by_table(key), _by_table(ignore)

    def rules(table: str) -> Rules:
        return _rules(settings, table, keys, ignored, tolerance)

    wanted = [name for given in tables or () for name in given.split(",") if name]
    names = region or list(settings.regions)[:2]
    kept = _kept_sums(find_project(project)) if incremental else None
    _compare(settings, names, wanted, rules, report, kept, as_json=as_json)


def _compare(
    settings: ProjectSettings,
    names: list[str],
    wanted: list[str],
    rules: Callable[[str], Rules],
    report: Path | None,
    kept: KeptSums | None,
    *,
    as_json: bool,
) -> None:
    """Compare two regions' tables, print what is found, and end with 1 when it is not equality."""
    from proa.recovery import StoredRegion, Verdict
    from proa.recovery import verify as compare_regions

    if len(names) != 2 or names[0] == names[1]:
        raise SettingsError("two regions are compared: name them with --region, twice")
    left, right = (StoredRegion(name, settings.region(name)) for name in names)
    reports = []
    with stderr.status(f"comparing {left.name} and {right.name}") as spinner:
        for found in compare_regions(left, right, rules, wanted, kept):
            reports.append(found)
            if not as_json:
                spinner.stop()
                _print_report(found, left.name, right.name)
                spinner.start()
    equal = all(found.verdict is Verdict.EQUAL for found in reports)
    if report is not None:
        _write_report(report, (left.name, right.name), reports, rules)
    if as_json:
        facts = [_report_facts(found) for found in reports]
        read = None if kept is None else {"read": kept.read_files, "known": kept.known_files}
        answer = {"left": left.name, "right": right.name, "equal": equal, "files": read}
        print_json({**answer, "tables": facts})
    else:
        both = f"{left.name} and {right.name}"
        console.print(_sum(both, reports, equal=equal), markup=False)
        if kept is not None:
            console.print(
                f"{kept.read_files} files were read, {kept.known_files} were known", markup=False
            )
    if not equal:
        raise typer.Exit(ANSWER_IS_NO)


def _kept_sums(folder: Path) -> KeptSums:
    """The sums of earlier proofs, in the project."""
    from proa.recovery.kept_sums import KeptSums
    from proa.storage import Store

    place = folder / ".proa" / "proof"
    place.mkdir(parents=True, exist_ok=True)
    return KeptSums(Store.open(str(place)))


def _write_report(
    path: Path,
    regions: tuple[str, str],
    reports: list[TableReport],
    rules: Callable[[str], Rules],
) -> None:
    import json

    from proa.clock import SystemClock
    from proa.recovery.proof_report import as_html, report_facts

    by_table = {found.table: rules(found.table) for found in reports}
    facts = report_facts(regions, reports, by_table, SystemClock().now())
    text = as_html(facts) if path.suffix == ".html" else json.dumps(facts, indent=1)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot write the report {path}: {error.strerror}") from error


def _sum(both: str, reports: list[TableReport], *, equal: bool) -> str:
    if not equal:
        return f"{both} are not equal"
    behind = any(any(report.behind) for report in reports)
    far = " as far as both have processed the same files" if behind else ""
    return f"{both} are equal{far}: {len(reports)} tables"


def _rules(
    settings: ProjectSettings,
    table: str,
    keys: dict[str, tuple[str, ...]],
    ignored: dict[str, tuple[str, ...]],
    tolerance: float | None,
) -> Rules:
    """The settings' rules with what the command line adds."""
    from dataclasses import replace

    from proa.recovery import rules_of

    rules = rules_of(settings.verify, table)
    return replace(
        rules,
        key=keys.get(table) or rules.key or keys.get("*", ()),
        key_needed=table in keys or bool(rules.key),
        ignore=(*rules.ignore, *ignored.get("*", ()), *ignored.get(table, ())),
        tolerance=rules.tolerance if tolerance is None else tolerance,
    )


def _by_table(options: list[str] | None) -> dict[str, tuple[str, ...]]:
    """`T=a,b` and `a,b` as columns by table; "*" stands for all tables."""
    found: dict[str, tuple[str, ...]] = {}
    for option in options or ():
        table, equals, columns = option.rpartition("=")
        name = table if equals else "*"
        found[name] = (*found.get(name, ()), *(one for one in columns.split(",") if one))
    return found


def _report_facts(report: TableReport) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "table": report.table,
        "verdict": report.verdict.value,
        "sentence": report.sentence,
        "versions": list(report.versions),
        "files": report.files,
        "behind": list(report.behind),
    }
    found = report.comparison
    if found is not None:
        facts |= {
            "rows": list(found.rows),
            "columns": list(found.columns),
            "ignored": list(found.ignored),
            "schema": list(found.schema),
            "changed": found.changed,
            "only": list(found.only),
            "tolerated": found.tolerated,
            "key": list(found.key),
            "changes": [
                {
                    "key": dict(change.key),
                    "columns": {name: list(values) for name, values in change.columns.items()},
                }
                for change in found.changes
            ],
            "only_left": [dict(row) for row in found.only_left],
            "only_right": [dict(row) for row in found.only_right],
        }
    return facts


def _print_report(report: TableReport, left: str, right: str) -> None:
    console.print(report.sentence, markup=False)
    if report.comparison is not None and not report.comparison.equal:
        _print_rows(report.comparison, left, right)


def _print_rows(found: Comparison, left: str, right: str) -> None:
    for change in found.changes:
        key = ", ".join(f"{name}={value!r}" for name, value in change.key.items())
        for name, values in change.columns.items():
            console.print(
                f"  {key}: {name} is {values[0]!r} in {left} and {values[1]!r} in {right}",
                markup=False,
            )
    for name, rows in ((left, found.only_left), (right, found.only_right)):
        for row in rows:
            console.print(f"  only in {name}: {row!r}", markup=False)
    shown = len(found.changes) + len(found.only_left) + len(found.only_right)
    more = found.changed + sum(found.only) - shown
    if more > 0:
        console.print(f"  and {more} more rows", markup=False)
