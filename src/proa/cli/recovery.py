"""`proa status`, `proa caught-up` and `proa verify`: both regions, looked at."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proa.cli.exit_codes import ANSWER_IS_NO
from proa.cli.output import console, print_json, stderr
from proa.cli.project import JsonOption, ProjectOption, load_regions
from proa.errors import SettingsError

if TYPE_CHECKING:
    from proa.recovery import Comparison, RegionStatus, Rules, SourceStatus, TableReport
    from proa.settings import ProjectSettings


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("status")(status)
    app.command("caught-up")(caught_up)
    app.command("verify")(verify)


def status(
    region: Annotated[
        list[str] | None, typer.Option("--region", metavar="R", help="Only this; may be repeated.")
    ] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far each region is, source by source.

    Shipped, landed through and processed through are numbers in the order of shipments. Lag is the age
    of the newest shipment in the tables that consumers read; 0 when nothing is missing.

    Exit codes: 0 every region answered; 1 a region did not, its line says why.

    Example: proa status --json
    """
    from proa.clock import SystemClock
    from proa.recovery import read_status

    found = read_status(load_regions(project), SystemClock(), region or ())
    if as_json:
        print_json({"regions": [_status_facts(one) for one in found]})
    else:
        _print_status(found)
    if any(one.error for one in found):
        raise typer.Exit(ANSWER_IS_NO)


def caught_up(
    region: Annotated[str, typer.Option("--region", metavar="R", help="The region to ask about.")],
    as_of: Annotated[
        str,
        typer.Option(
            "--as-of", metavar="TIME", help="ISO 8601, UTC unless it says otherwise; or now."
        ),
    ] = "now",
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Has a region processed every event from up to TIME?

    Judged by the manifest: every file that was shipped by then is in the tables, without gaps. A landing
    zone without a manifest is judged by file names and event time, and the answer says so.

    Exit codes: 0 yes; 1 no; 3 the region does not answer.

    Example: proa caught-up --region us-west --as-of 2023-02-28T13:00:00Z
    """
    from proa.clock import SystemClock
    from proa.recovery import read_caught_up

    clock = SystemClock()
    moment = clock.now() if as_of == "now" else _moment(as_of)
    answer = read_caught_up(load_regions(project), region, moment, clock)
    if as_json:
        print_json(
            {
                "region": answer.region,
                "as_of": _iso(answer.as_of),
                "caught_up": answer.caught_up,
                "sentence": answer.sentence,
                "latest_event": _iso(answer.latest_event),
                "sources": [
                    {
                        "source": one.source,
                        "caught_up": one.caught_up,
                        "needed_through": one.needed,
                        "processed_through": one.processed,
                        "sentence": one.sentence,
                    }
                    for one in answer.sources
                ],
            }
        )
    else:
        console.print(answer.sentence, markup=False)
    if not answer.caught_up:
        raise typer.Exit(ANSWER_IS_NO)


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
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the tables of two regions, row by row.

    Tables are compared at versions that hold the same raw files. Where rows differ, they are shown
    with their key and the columns that differ. The settings `verify` in proa.yml say the same as the
    options.

    Exit codes: 0 all tables are equal; 1 one differs, is missing, or cannot be compared because a region
    is behind; 3 a region does not answer.

    Example: proa verify --tables daily_departures --tolerance 1e-9
    """
    from proa.recovery import Region, Verdict
    from proa.recovery import verify as compare_regions

    settings = load_regions(project)
    names = region or list(settings.regions)[:2]
    if len(names) != 2 or names[0] == names[1]:
        raise SettingsError("two regions are compared: name them with --region, twice")
    left, right = (Region(name, settings.region(name)) for name in names)
    keys, ignored = _by_table(key), _by_table(ignore)

    def rules(table: str) -> Rules:
        return _rules(settings, table, keys, ignored, tolerance)

    reports = []
    wanted = [name for given in tables or () for name in given.split(",") if name]
    with stderr.status(f"comparing {left.name} and {right.name}") as spinner:
        for report in compare_regions(left, right, rules, wanted):
            reports.append(report)
            if not as_json:
                spinner.stop()
                _print_report(report, left.name, right.name)
                spinner.start()
    equal = all(report.verdict is Verdict.EQUAL for report in reports)
    if as_json:
        facts = [_report_facts(report) for report in reports]
        print_json({"left": left.name, "right": right.name, "equal": equal, "tables": facts})
    else:
        both = f"{left.name} and {right.name}"
        console.print(_sum(both, reports, equal=equal), markup=False)
    if not equal:
        raise typer.Exit(ANSWER_IS_NO)


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


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            f"--as-of {text!r} is not a time; write it like 2023-02-28T13:00:00Z"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _status_facts(one: RegionStatus) -> dict[str, Any]:
    return {
        "region": one.region,
        "latest_event": _iso(one.latest_event),
        "lag_s": one.lag,
        "error": str(one.error) if one.error else None,
        "sources": [
            {
                "source": source.source,
                "manifest": source.manifest,
                "shipped_through": source.shipped,
                "landed_through": source.landed,
                "processed_through": source.processed,
                "backlog_files": source.backlog_files,
                "backlog_bytes": source.backlog_bytes,
                "newest_shipped_at": _iso(source.newest_shipped_at),
                "lag_s": source.lag,
            }
            for source in one.sources
        ],
    }


def _print_status(found: list[RegionStatus]) -> None:
    rows: list[tuple[str, ...]] = [_HEADINGS]
    for one in found:
        moment = one.latest_event.astimezone(UTC) if one.latest_event else None
        latest = f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "-"
        rows += [(one.region, source.source, *_cells(source), latest) for source in one.sources]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows if len(rows) > 1 else ():
        texts = [text.ljust(width) for text, width in zip(row[:2], widths[:2], strict=True)]
        texts += [text.rjust(width) for text, width in zip(row[2:], widths[2:], strict=True)]
        console.print("  ".join(texts).rstrip(), markup=False)
    for one in found:
        if one.error:
            stderr.print(f"{one.region}: {one.error}", markup=False)
        if any(not source.manifest for source in one.sources):
            console.print(
                f"{one.region}: a dash stands where the landing zone has no manifest", markup=False
            )


_HEADINGS = (
    "region", "source", "shipped", "landed", "processed", "backlog", "bytes", "lag",
    "latest event (UTC)",
)  # fmt: skip


def _cells(source: SourceStatus) -> tuple[str, ...]:
    numbers = (source.shipped, source.landed, source.processed)
    return (
        *("-" if number is None else str(number) for number in numbers),
        f"{source.backlog_files} files",
        f"{source.backlog_bytes:,}",
        "-" if source.lag is None else f"{source.lag:,.0f} s",
    )


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
