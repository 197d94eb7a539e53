"""`proa switchover`, `failover`, `failback`, `drill`, `resume` and `history`: regions change roles."""

from __future__ import annotations

import getpass
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proa.cli.exit_codes import ANSWER_IS_NO
from proa.cli.output import console, print_json, print_text, stderr
from proa.cli.project import JsonOption, ProjectOption, find_project, load_regions
from proa.errors import ProaError, SettingsError, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proa.recovery.control_record import ControlRecord, Operation
    from proa.recovery.controller import Controller, Request
    from proa.recovery.readiness import Check
    from proa.settings import ProjectSettings

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it begins.")]
ExplainOption = Annotated[
    bool, typer.Option("--explain", help="Say what would happen, and do nothing.")
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; it stands in the history.")
]
WaitOption = Annotated[
    str,
    typer.Option("--wait", metavar="TIME", help="How long the target may take to catch up."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (validate, drill, switchover, failover, failback, resume, history):
        app.command(command.__name__)(command)


def switchover(
    to: Annotated[str, typer.Option("--to", metavar="R", help="The region to be active.")],
    reason: ReasonOption = "",
    wait: WaitOption = "1h",
    explain: ExplainOption = False,
    yes: YesOption = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make another region the active one, without loss; all regions must answer.

    The active region is stopped, the other one processes everything that was shipped, both are compared,
    and only then it is active and consumers are sent there.

    Exit codes: 0 it is active; 1 the regions differ, or something else is under way; 3 a region did not
    answer or catch up in time. Then nothing has moved, or `proa resume` finishes it.

    Example: proa switchover --to us-west --explain
    """
    from proa.recovery.control_record import Operation

    request = _request(Operation.SWITCHOVER, to, reason, wait)
    _change(project, request, explain=explain, yes=yes, as_json=as_json)


def failover(
    to: Annotated[str, typer.Option("--to", metavar="R", help="The region to be active.")],
    max_loss: Annotated[
        str | None,
        typer.Option(
            "--max-loss",
            metavar="TIME",
            help="Refuse when more would be lost; default: `rpo`, or 0.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Lose whatever it takes.")] = False,
    reason: ReasonOption = "",
    wait: WaitOption = "1h",
    explain: ExplainOption = False,
    yes: YesOption = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make another region the active one because the active region is lost.

    Says first what would be missing, and is refused when that is more than allowed. The lost region is
    never asked; when it returns it demotes itself, or `proa resume` does it.

    Exit codes: 0 it is active; 1 it would lose too much, or something else is under way; 3 the region to
    be active did not answer or catch up in time: `proa resume` goes on.

    Example: proa failover --to us-west --max-loss 5m --yes
    """
    from dataclasses import replace

    from proa.recovery.control_record import Operation

    request = _request(Operation.FAILOVER, to, reason, wait)
    bound = None if max_loss is None else _seconds(max_loss, "--max-loss")
    request = replace(request, max_loss=bound, force=force)
    _change(project, request, explain=explain, yes=yes, as_json=as_json)


def failback(
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="R", help="Where to; default: the region active before."),
    ] = None,
    reason: ReasonOption = "",
    wait: WaitOption = "1h",
    explain: ExplainOption = False,
    yes: YesOption = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go back to the region that was lost: a switchover, once it has caught up.

    Asked again, it finds that it is done; from a region that was always active there is no way back.

    Exit codes: as for `proa switchover`; 2 no other region was ever active.

    Example: proa failback --yes
    """
    from proa.recovery.control_record import Operation

    target = to or _open(project, as_json=as_json).former()
    request = _request(Operation.FAILBACK, target, reason, wait)
    _change(project, request, explain=explain, yes=yes, as_json=as_json)


def drill(
    region: Annotated[
        str | None,
        typer.Option("--region", metavar="R", help="The standby; default: the only one."),
    ] = None,
    reason: ReasonOption = "",
    wait: WaitOption = "1h",
    explain: ExplainOption = False,
    yes: YesOption = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Practise a failover on the standby; consumers notice nothing.

    The standby processes everything that was shipped until now, and is compared with the active region.
    How long that took, what would have been lost and whether the regions are equal is filed as a report.

    Exit codes: 0 they are equal; 1 they are not, or something else is under way; 3 the standby did not
    answer or catch up in time.

    Example: proa drill --yes --json
    """
    from proa.recovery.control_record import Operation

    settings = load_regions(project)
    target = region
    if target is None:
        active = _open(project, as_json=as_json).record().active
        standbys = [name for name in settings.regions if name != active]
        if len(standbys) != 1:
            raise SettingsError(f"name the standby with --region: {', '.join(standbys) or 'none'}")
        target = standbys[0]
    request = _request(Operation.DRILL, target, reason, wait)
    _change(project, request, explain=explain, yes=yes, as_json=as_json)


def resume(
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Take it back, while that is still possible.")
    ] = False,
    reason: ReasonOption = "",
    wait: WaitOption = "1h",
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Finish the change of roles that is under way, wherever it was begun.

    With nothing under way, regions that were lost and answer again become standbys, and regions whose
    roles were changed by somebody else are set as the record says.

    Exit codes: 0 nothing is under way any more; 1 it cannot be finished or taken back; 3 a region that
    is needed does not answer.

    Example: proa resume
    """
    controller = _open(project, as_json=as_json)
    record = controller.cancel(reason) if cancel else controller.resume(_seconds(wait, "--wait"))
    _print_end(record, controller, as_json=as_json)


def history(
    reports: Annotated[
        Path | None,
        typer.Option(
            "--reports",
            metavar="FOLDER",
            help="Also write the reports of drills and promotions there, as pages (.html) and facts (.json).",
        ),
    ] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the changes of roles, oldest first: when, who, and what happened.

    Every drill and every promotion has filed a report: what was compared, at which files and versions, by
    which rules, with which result. --reports writes them, each under the number of its entry.

    Exit codes: 0 done; 1 the places that hold the record disagree; 3 none of them answers.

    Example: proa history
    """
    from proa.recovery.control_record import ControlStore

    store = ControlStore.of(load_regions(project))
    records = store.history()
    if reports is not None:
        _write_reports(reports, store.reports())
    if as_json:
        print_json({"entries": [record.model_dump(mode="json") for record in records]})
        return
    for record in records:
        reason = f" ({record.reason})" if record.reason else ""
        when = f"{record.at:%Y-%m-%d %H:%M:%S}"
        print_text(f"{when}  epoch {record.epoch}  {record.who}: {record.sentence}{reason}")
    if not records:
        console.print("nothing was ever changed")


def _write_reports(folder: Path, filed: Mapping[str, bytes]) -> None:
    """Write reports into a folder, twice each. Raises SettingsError when that cannot be done."""
    import json

    from proa.recovery.proof_report import filed_html

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in filed.items():
            (folder / f"{name}.json").write_bytes(data)
            (folder / f"{name}.html").write_text(filed_html(json.loads(data)), encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"cannot write the reports into {str(folder)!r}: {error.strerror}"
        ) from error


def validate(
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Would a failover work now? Looks at everything that it needs, and changes nothing.

    The control record; each region's storage, driver and token, role and loss; whether the regions run the
    same files, versions and settings; findings; the objectives; the last drill.

    Exit codes: 0 it would, perhaps with warnings; 1 it would not.

    Example: proa validate
    """
    from proa.clock import SystemClock
    from proa.recovery.control_record import ControlStore
    from proa.recovery.driver import open_driver
    from proa.recovery.readiness import Level, checks
    from proa.recovery.region_view import open_view

    folder, settings, clock = find_project(project), load_regions(project), SystemClock()
    driver, view = open_driver(settings, folder), open_view(settings, clock)
    answers = list(checks(settings, ControlStore.of(settings), driver, view, clock))
    if here := _findings_checks(folder, settings):
        # The files that are here are newer than what the regions' last updates ran.
        answers = [one for one in answers if one.name != here[0].name] + here
    ready = all(check.level is not Level.FAILURE for check in answers)
    if as_json:
        print_json({"ready": ready, "checks": [one.facts() for one in answers]})
    else:
        for check in answers:
            print_text(f"{check.level:<8} {check.name}: {check.sentence}")
        print_text("a failover would work now" if ready else "a failover would not work now")
    if not ready:
        raise typer.Exit(ANSWER_IS_NO)


def _findings_checks(folder: Path, settings: ProjectSettings) -> list[Check]:
    """What in the project's pipeline depends on where it runs. Empty if the project has no pipeline."""
    from proa.pipelines.spec import find_spec
    from proa.recovery.readiness import Check, Level, open_findings

    try:
        if find_spec(folder).parent != folder:
            return []
    except SettingsError:
        return []
    from proa.runtime.compile import compile_project
    from proa.runtime.dr_policy import DrPolicy

    try:
        policy = DrPolicy.of(settings, "error")
        judged = compile_project(folder, next(iter(settings.regions)), policy=policy).verdicts
    except ProaError as error:
        return [Check("findings", Level.WARNING, f"the pipeline cannot be read now: {error}")]
    if judged.names:
        return [open_findings(judged.names)]
    accepted = f", {len(judged.accepted)} accepted" if judged.accepted else ""
    return [Check("findings", Level.OK, f"nothing depends on where it runs{accepted}")]


def _request(operation: Operation, target: str, reason: str, wait: str) -> Request:
    from proa.recovery.controller import Request

    return Request(operation, target, reason, patience=_seconds(wait, "--wait"))


def _change(
    project: Path | None, request: Request, *, explain: bool, yes: bool, as_json: bool
) -> None:
    controller = _open(project, as_json=as_json)
    if explain:
        lines = controller.explain(request)
        if as_json:
            print_json({"operation": request.operation, "target": request.target, "steps": lines})
        else:
            _print_steps(lines)
        return
    if not yes:
        _confirm(request, controller.explain(request))
    record = controller.begin(request)
    _print_end(record, controller, as_json=as_json)
    if controller.proof is not None and not controller.proof.equal:
        raise typer.Exit(ANSWER_IS_NO)


def _print_steps(lines: list[str]) -> None:
    for number, line in enumerate(lines, 1):
        print_text(f"{number}. {line}")


def _confirm(request: Request, lines: list[str]) -> None:
    if not sys.stdin.isatty():
        raise UserError(
            f"a {request.operation} must be confirmed, and this is not a terminal; read what it does"
            " with --explain, and add --yes",
            condition="NOT_CONFIRMED",
        )
    for number, line in enumerate(lines, 1):
        stderr.print(f"{number}. {line}", markup=False)
    typer.confirm(f"Begin the {request.operation} to {request.target}?", abort=True, err=True)


def _print_end(record: ControlRecord, controller: Controller, *, as_json: bool) -> None:
    from proa.recovery.advice import duration_text

    report = controller.report
    if as_json:
        print_json(
            {
                **record.model_dump(mode="json"),
                "equal": None if report is None else report["equal"],
                "tables": None if report is None else dict(report["tables"]),
                "report": None
                if report is None
                else {key: value for key, value in report.items() if key != "tables"},
            }
        )
    elif record.is_steady:
        if report is not None:
            ready = f"{report['regions'][1]} was ready after {duration_text(report['seconds'])}"
            print_text(f"{ready}; {report['loss']['sentence']}")
        print_text(f"{record.active} is active in epoch {record.epoch}")


def _open(project: Path | None, *, as_json: bool) -> Controller:
    from proa.clock import SystemClock
    from proa.recovery.controller import open_controller

    return open_controller(
        load_regions(project),
        find_project(project),
        SystemClock(),
        f"{getpass.getuser()}@{platform.node()}",
        tell=(lambda _: None) if as_json else print_text,
    )


def _seconds(text: str, option: str) -> float:
    from proa.times import duration_setting

    return duration_setting(text, option)
