"""`proa advise`: which schedule of the standby meets the objectives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proa.cli.exit_codes import ANSWER_IS_NO
from proa.cli.output import new_table, print_json, print_table, print_text
from proa.cli.project import JsonOption, ProjectOption, load_regions
from proa.errors import ProaError, SettingsError
from proa.times import duration_setting

if TYPE_CHECKING:
    from proa.recovery.advice import Forecast, Objectives
    from proa.recovery.measured_rates import Measured
    from proa.settings import ProjectSettings

RateOption = Annotated[
    float | None,
    typer.Option(
        "--rate", metavar="MB", min=1e-9, help="Megabytes a second, instead of measured ones."
    ),
]
StartupOption = Annotated[
    str | None,
    typer.Option(
        "--startup",
        metavar="TIME",
        help="How long an update takes to start, instead of measured.",
    ),
]
PriceOption = Annotated[
    float | None,
    typer.Option("--price", metavar="X", min=0, help="Of an hour of compute; adds a cost a day."),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("advise")(advise)


def advise(
    rpo: Annotated[
        str | None,
        typer.Option("--rpo", metavar="TIME", help="Instead of `recovery.rpo` of proa.yml."),
    ] = None,
    rto: Annotated[
        str | None,
        typer.Option("--rto", metavar="TIME", help="Instead of `recovery.rto` of proa.yml."),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option("--region", metavar="R", help="The standby; default: the first one."),
    ] = None,
    window: Annotated[
        str,
        typer.Option("--window", metavar="TIME", help="Arrivals of how long count."),
    ] = "7 days",
    rate: RateOption = None,
    startup: StartupOption = None,
    price: PriceOption = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the choices: a .svg or a .txt file."),
    ] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which schedule of the standby meets `rpo` and `rto`, and what each choice costs.

    Plays the arrivals that the manifests have recorded against each schedule, with the speed that the
    event log has recorded. "missing" is how long the oldest shipment may wait until it is in the standby's
    tables, and is held against `rpo`; "recovery" is how long the standby needs when the active region is
    lost at the worst moment, and is held against `rto`.

    Exit codes: 0 a schedule meets them; 1 none does; 2 there are no objectives, or nothing was measured
    yet; 3 a place that is needed does not answer.

    Example: proa advise --rto 10m --plot schedules.svg
    """
    from proa.recovery.advice import cheapest, forecasts
    from proa.recovery.measured_rates import measure

    if plot is not None and plot.suffix not in {".svg", ".txt"}:
        raise SettingsError(f"--plot {plot} must end with .svg or .txt")
    settings = load_regions(project)
    objectives = _objectives(settings, rpo, rto)
    standby, history = _standby(settings, region)
    measured = measure(
        settings,
        standby,
        history,
        window=duration_setting(window, "--window"),
        rate=None if rate is None else rate * 1_000_000,
        startup=None if startup is None else duration_setting(startup, "--startup"),
    )
    choices = forecasts(measured.arrivals, measured.processing)
    best = cheapest(choices, objectives)
    if plot is not None:
        _draw(plot, choices, objectives)
    if as_json:
        print_json(_facts(standby, objectives, measured, choices, best, price))
    else:
        _print(standby, objectives, measured, choices, best, price)
    if best is None:
        raise typer.Exit(ANSWER_IS_NO)


def _objectives(settings: ProjectSettings, rpo: str | None, rto: str | None) -> Objectives:
    from proa.recovery.advice import Objectives
    from proa.settings import RecoverySettings

    agreed = settings.recovery or RecoverySettings()
    objectives = Objectives(
        agreed.rpo if rpo is None else duration_setting(rpo, "--rpo"),
        agreed.rto if rto is None else duration_setting(rto, "--rto"),
    )
    if objectives.rpo is None and objectives.rto is None:
        raise SettingsError(
            "there are no objectives to meet: set `rpo` and `rto` under `recovery` in proa.yml, or name"
            " them with --rpo and --rto"
        )
    return objectives


def _standby(settings: ProjectSettings, region: str | None) -> tuple[str, Any]:
    """The standby that is asked about, and the history of roles as far as it is known.

    Raises what the control record raises when it is needed to tell which region is the standby.
    """
    from proa.recovery.control_record import ControlStore, first_active

    if region is not None:
        settings.region(region)
    try:
        history = ControlStore.of(settings).history()
    except ProaError:
        if region is None:
            raise  # which region is the standby is not known
        history = []
    if region is not None:
        return region, history
    active = history[-1].active if history else first_active(settings)
    return next((name for name in settings.regions if name != active), active), history


def _draw(path: Path, choices: list[Forecast], objectives: Objectives) -> None:
    from proa.recovery.advice_plot import as_svg, as_text

    text = (as_svg if path.suffix == ".svg" else as_text)(choices, objectives)
    try:
        path.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot write the plot {path}: {error.strerror}") from error


def _facts(
    standby: str,
    objectives: Objectives,
    measured: Measured,
    choices: list[Forecast],
    best: Forecast | None,
    price: float | None,
) -> dict[str, Any]:
    speed = measured.processing
    return {
        "region": standby,
        "rpo_s": objectives.rpo,
        "rto_s": objectives.rto,
        "measured": {
            "files": measured.files,
            "bytes": measured.bytes,
            "span_s": measured.span,
            "updates": measured.updates,
            "startup_s": speed.startup,
            "overhead_s": speed.overhead,
            "bytes_per_s": speed.rate,
            "switch_s": speed.switch,
        },
        "advice": None if best is None else best.name,
        "cron": None if best is None else best.cron,
        "choices": [
            {
                "schedule": one.name,
                "cron": one.cron,
                "meets": not one.failures(objectives),
                "why_not": one.failures(objectives),
                "lag_s": one.lag,
                "missing_s": one.missing,
                "recovery_s": one.recovery,
                "compute_s_per_day": one.compute,
                "cost_per_day": None if price is None else one.compute / 3600 * price,
            }
            for one in choices
        ],
    }


def _print(
    standby: str,
    objectives: Objectives,
    measured: Measured,
    choices: list[Forecast],
    best: Forecast | None,
    price: float | None,
) -> None:
    from proa.recovery.advice import duration_text

    speed = measured.processing
    source = (
        f"{measured.updates} update{'s' * (measured.updates != 1)}"
        if measured.updates
        else "what the command line says"
    )
    print_text(
        f"{measured.files} files ({measured.bytes:,} bytes) arrived within {duration_text(measured.span)};"
        f" by {source}, an update takes {duration_text(speed.startup + speed.overhead)} and"
        f" 1 s for {speed.rate:,.0f} bytes"
    )
    titles = ["schedule", "lag", "missing", "recovery", "compute a day"]
    titles += ["cost a day"] * (price is not None) + ["meets the objectives"]
    table = new_table(*titles, right=titles[1:-1])
    for one in choices:
        failures = one.failures(objectives)
        cells = [one.name, *map(duration_text, (one.lag, one.missing, one.recovery, one.compute))]
        if not one.keeps_up:
            cells[1:4] = ["grows"] * 3
        if price is not None:
            cells.append(f"{one.compute / 3600 * price:,.2f}")
        table.add_row(*cells, f"no: {'; '.join(failures)}" if failures else "yes")
    print_table(table)
    if best is None:
        print_text(
            f"no: none of these schedules of {standby} meets the objectives; {_way_out(choices)}"
        )
    elif best.cron is None:
        print_text(f"advice: let {standby} run all the time, no schedule meets the objectives")
    else:
        print_text(f"advice: run {standby} {best.name}, schedule {best.cron!r} in UTC")


def _way_out(choices: list[Forecast]) -> str:
    if not any(one.keeps_up for one in choices):
        return "more arrives than it can process: give it a larger engine"
    return "give it a larger engine, or promise less"
