"""A comparison of two regions as a document: what was compared, at which files, by which rules, and the result.

For people it is a page of HTML that needs nothing else; for programs the same facts are JSON.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

from proa.recovery.compare import Rules
from proa.recovery.verification import TableReport, Verdict

FORMAT = 1
_LIBRARIES = ("proa", "deltalake", "duckdb", "pyarrow")


def report_facts(
    regions: tuple[str, str],
    reports: Sequence[TableReport],
    rules: Mapping[str, Rules],
    at: datetime,
) -> dict[str, Any]:
    """Everything that the report says; `rules` by table."""
    return {
        "format": FORMAT,
        "regions": list(regions),
        "at": at.isoformat(),
        "equal": all(report.verdict is Verdict.EQUAL for report in reports),
        "software": software(),
        "tables": [table_facts(report, rules[report.table]) for report in reports],
    }


def software() -> dict[str, str]:
    """The versions of what compares."""
    return {name: version(name) for name in _LIBRARIES}


def filed_html(filed: Mapping[str, Any]) -> str:
    """The report that a drill or promotion has filed beside the control record, as one page."""
    tables = [{"table": name, **table} for name, table in (filed.get("tables") or {}).items()]
    what = (
        f"{str(filed['operation']).capitalize()} of group {filed['group']}, epoch {filed['epoch']}"
    )
    took = f"It took {float(filed['seconds']):,.1f} s"
    notes = [
        f"{what}: begun {filed['began']}, filed by {filed['who']}. {took}.",
        f"{filed['loss']['sentence']}.",
        f"{filed['sentence']}.",
    ]
    return as_html({**filed, "software": filed.get("software") or {}, "tables": tables}, notes)


def as_html(facts: Mapping[str, Any], notes: Sequence[str] = ()) -> str:
    """The report as one page; `notes` are sentences above its tables."""
    left, right = facts["regions"]
    result = {True: "are equal", False: "are not equal", None: "were not compared"}[facts["equal"]]
    rows = "".join(_row(table) for table in facts["tables"])
    details = "".join(_details(table, left, right) for table in facts["tables"])
    versions = ", ".join(f"{name} {number}" for name, number in facts["software"].items())
    return _PAGE.format(
        title=_text(f"{left} and {right} {result}"),
        notes="".join(f"<p>{_text(note)}</p>" for note in notes),
        at=_text(facts["at"]),
        software=_text(versions or "not known"),
        left=_text(left),
        right=_text(right),
        rows=rows,
        details=details,
    )


def table_facts(report: TableReport, rules: Rules) -> dict[str, Any]:
    """What the report says of one table, for programs."""
    found = report.comparison
    facts: dict[str, Any] = {
        "table": report.table,
        "verdict": report.verdict.value,
        "sentence": report.sentence,
        "versions": list(report.versions),
        "files": report.files,
        "behind": list(report.behind),
        "rules": {
            "key": list(rules.key),
            "ignore": list(rules.ignore),
            "tolerance": rules.tolerance,
            "tolerances": dict(rules.tolerances),
        },
        "rows": None,
        "differences": [],
    }
    if found is not None:
        facts |= {
            "rows": list(found.rows),
            "columns": list(found.columns),
            "tolerated": found.tolerated,
            "changed": found.changed,
            "only": list(found.only),
            "differences": [
                *({"columns": sentence} for sentence in found.schema),
                *(
                    {
                        "key": _values(change.key),
                        "changed": {n: [str(a), str(b)] for n, (a, b) in change.columns.items()},
                    }
                    for change in found.changes
                ),
                *({"only_left": _values(row)} for row in found.only_left),
                *({"only_right": _values(row)} for row in found.only_right),
            ],
        }
    return facts


def _values(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in row.items()}


def _row(table: Mapping[str, Any]) -> str:
    wanted = table.get("rules") or {}  # reports of earlier versions had none
    rules = [f"ignored: {', '.join(wanted['ignore'])}"] if wanted.get("ignore") else []
    if wanted.get("tolerance") or wanted.get("tolerances"):
        rules.append(f"tolerance {wanted['tolerance']} {wanted['tolerances'] or ''}")
    cells = (
        table["table"],
        table["verdict"],
        " / ".join(map(str, table["versions"])),
        " / ".join(map(str, table["rows"] or ("-", "-"))),
        str(table["files"]),
        "; ".join(rules),
        table["sentence"],
    )
    mark = "equal" if table["verdict"] == Verdict.EQUAL else "other"
    return f'<tr class="{mark}">{"".join(f"<td>{_text(cell)}</td>" for cell in cells)}</tr>'


def _details(table: Mapping[str, Any], left: str, right: str) -> str:
    lines = difference_lines(table, left, right)
    if not lines:
        return ""
    items = "".join(f"<li>{_text(line)}</li>" for line in lines)
    return f"<h2>{_text(table['table'])}: the first differences</h2><ul>{items}</ul>"


def difference_lines(table: Mapping[str, Any], left: str, right: str) -> list[str]:
    """The first differences of a table, as sentences. Empty when it is equal, or was not compared."""
    lines = []
    for difference in table.get("differences") or ():
        if "columns" in difference:
            lines.append(difference["columns"])
        elif "changed" in difference:
            changed = (
                f"{name} is {values[0]!r} in {left} and {values[1]!r} in {right}"
                for name, values in difference["changed"].items()
            )
            lines.append(f"{difference['key']}: {'; '.join(changed)}")
        elif "only_left" in difference:
            lines.append(f"only in {left}: {difference['only_left']}")
        else:
            lines.append(f"only in {right}: {difference['only_right']}")
    return lines


def _text(value: object) -> str:
    return html.escape(str(value))


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8886; vertical-align: top; }}
tr.other td:nth-child(2) {{ font-weight: bold; }}
div {{ overflow-x: auto; }}
</style>
<h1>{title}</h1>
{notes}
<p>Compared row by row on {at}, each table at versions that hold the same raw files in both regions.
Software: {software}.</p>
<div><table>
<tr><th>table</th><th>verdict</th><th>versions ({left} / {right})</th><th>rows</th><th>raw files</th><th>rules</th><th>result</th></tr>
{rows}
</table></div>
{details}
</html>
"""
