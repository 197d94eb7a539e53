"""`proa dry-run`: would the pipeline run, and would it compute the same rows in every region?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from proa.cli.exit_codes import ANSWER_IS_NO, MISUSED
from proa.cli.output import console, print_json, print_text, report_error
from proa.cli.project import JsonOption, ProjectOption, RegionOption, chosen_region, find_project
from proa.errors import PipelineError, SeveralMistakesError, UserError

if TYPE_CHECKING:
    from proa.graph.findings import Finding
    from proa.runtime.compile import Compiled
    from proa.settings import ProjectSettings


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("dry-run")(dry_run)


def dry_run(
    region: RegionOption = None, project: ProjectOption = None, as_json: JsonOption = False
) -> None:
    """Check the whole pipeline, and what in it depends on where it runs. Computes nothing.

    Names, kinds, cycles and every query's columns are checked; columns that depend on files which
    are not there yet are reported as unchecked.

    Findings are judged by `dr_safety` and `accept` in proa.yml.

    Exit codes: 0 it may run; 1 a finding forbids it; 2 the pipeline or a setting is wrong.

    Example: proa dry-run --region east
    """
    from proa.runtime.compile import compile_project
    from proa.runtime.dr_policy import DrPolicy

    folder = find_project(project)
    try:
        settings = _settings(folder)
        policy = DrPolicy("warn") if settings is None else DrPolicy.of(settings, "error")
        region_name = chosen_region(folder, region, needed=False)
        compiled = compile_project(folder, region_name, policy=policy, columns=True)
    except UserError as error:
        if not as_json:
            raise
        print_json(_failure_object(error))
        report_error(error)
        raise typer.Exit(MISUSED) from error
    judged = compiled.verdicts
    if as_json:
        print_json(_as_object(compiled))
    else:
        _print(compiled)
    if judged.errors:
        raise typer.Exit(ANSWER_IS_NO)


def _settings(folder: Path) -> ProjectSettings | None:
    from proa import settings

    path = folder / settings.FILE_NAME
    return settings.load(path) if path.is_file() else None


# -- printing ---------------------------------------------------------------------------------------


def _print(compiled: Compiled) -> None:
    from proa.graph.render import refresh_words

    graph, judged = compiled.graph, compiled.verdicts
    for finding in judged.errors:
        _print_finding(finding, "error", "bold red")
    for finding in judged.warnings:
        _print_finding(finding, "warning", "bold yellow")
    for finding, reason in judged.accepted:
        console.print("accepted", style="dim", end=" ")
        print_text(f"{finding.code} in {finding.dataset} ({finding.location}): {reason}")
    for entry in judged.unused:
        console.print("unused", style="dim", end=" ")
        print_text(f"accept: {entry.finding} accepts nothing; remove it from proa.yml")
    for name, reason in compiled.analysis.unknown.items():
        console.print("unchecked", style="dim", end=" ")
        print_text(f"the columns of {name}: {reason}")
    for name, kind in compiled.refreshes.items():
        console.print("refreshed", style="dim", end=" ")
        print_text(f"{name}: {refresh_words(kind)}")
    tables = len(graph.tables)
    views = len(graph.datasets) - len(graph.targets)
    sinks = len(graph.targets) - tables
    print_text(
        f"{tables} tables, {views} views,{f' {sinks} sinks,' if sinks else ''} {len(graph.flows)} flows in {len(graph.stages)} stages:"
        f" {len(judged.errors)} errors, {len(judged.warnings)} warnings,"
        f" {len(judged.accepted)} accepted"
    )


def _print_finding(finding: Finding, label: str, style: str) -> None:
    where = finding.dataset if finding.column is None else f"{finding.dataset}.{finding.column}"
    console.print(label, style=style, end=" ")
    print_text(f"{finding.code} {where}: {finding.expression} ({finding.location})")
    print_text(f"    {finding.why}")
    print_text(f"    {finding.remedy}")


def _as_object(compiled: Compiled) -> dict[str, Any]:
    graph, judged = compiled.graph, compiled.verdicts
    return {
        "valid": True,
        "may_run": not judged.errors,
        "tables": list(graph.tables),
        "sinks": [name for name in graph.targets if graph.datasets[name].is_sink],
        "stages": [list(stage) for stage in graph.stages],
        "columns": {
            name: [
                {"name": column.name, "type": column.dataType.simpleString()} for column in schema
            ]
            for name, schema in compiled.analysis.schemas.items()
        },
        "refreshes": {name: asdict(kind) for name, kind in compiled.refreshes.items()},
        "unchecked": dict(compiled.analysis.unknown),
        "errors": [_finding(finding) for finding in judged.errors],
        "warnings": [_finding(finding) for finding in judged.warnings],
        "accepted": [
            {**_finding(finding), "reason": reason} for finding, reason in judged.accepted
        ],
        "unused_acceptances": [entry.finding for entry in judged.unused],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": str(finding.severity),
        "dataset": finding.dataset,
        "column": finding.column,
        "expression": finding.expression,
        "file": finding.location.file,
        "line": finding.location.line,
        "why": finding.why,
        "remedy": finding.remedy,
    }


def _failure_object(error: UserError) -> dict[str, Any]:
    errors = error.errors if isinstance(error, SeveralMistakesError) else (error,)
    described = [_mistake(each) for each in errors]
    return {"valid": False, "may_run": False, "error": described[0], "errors": described}


def _mistake(error: UserError) -> dict[str, Any]:
    location = error.location if isinstance(error, PipelineError) else None
    return {
        "condition": error.condition,
        "message": str(error.args[0]),
        "file": None if location is None else location.file,
        "line": None if location is None else location.line,
        "column": None if location is None else location.column,
    }
