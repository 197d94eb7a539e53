"""The console command `proa`.

Exit codes: 0 it worked; 1 it ran and the answer is no (an update failed, regions differ, not caught
up); 2 the command, a setting or the pipeline is wrong; 3 something did not answer, try again;
130 interrupted; 141 whoever reads the output stopped reading.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from proa.cli.exit_codes import ANSWER_IS_NO, INTERRUPTED, MISUSED, UNAVAILABLE
from proa.cli.output import print_text, report_error
from proa.errors import ProaError, UnavailableError, UserError
from proa.lazy import spare_pandas

COMMANDS = {
    "adopt": "adopt",
    "advise": "advise",
    "capture": "capture",
    "check-zone": "check_zone",
    "control": "control",
    "demo": "demo",
    "dry-run": "dry_run",
    "events": "events",
    "validate": "failover",
    "drill": "failover",
    "switchover": "failover",
    "failover": "failover",
    "failback": "failover",
    "resume": "failover",
    "history": "failover",
    "gateway": "gateway",
    "graph": "graph",
    "infra": "infra",
    "init": "init",
    "maintain": "maintain",
    "port": "port",
    "query": "query",
    "schema": "schema",
    "status": "status",
    "caught-up": "status",
    "verify": "verify",
    "run": "run",
    "serve": "serve",
    "ship": "ship",
    "tables": "tables",
    "token": "token",
}
"""The module of each command, in the order of the help."""

app: typer.Typer
"""The console command with all its commands; made when it is first asked for."""


def __getattr__(name: str) -> typer.Typer:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    whole = globals()["app"] = make_app(COMMANDS)
    return whole


def make_app(commands: Iterable[str]) -> typer.Typer:
    """Make the console command with the modules of these commands.

    Typer looks at every option of every command, so a short command is given its own ones only.
    """
    made = typer.Typer(
        name="proa",
        help="Declarative lakehouse pipelines that survive the loss of a region.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    made.callback()(root)
    for module in dict.fromkeys(COMMANDS[command] for command in commands):
        import_module(f"proa.cli.{module}").register(made)
    return made


def _print_version(wanted: bool) -> None:
    if wanted:
        print_text(f"proa {version('proa')}")
        raise typer.Exit


def root(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Declarative lakehouse pipelines that survive the loss of a region."""


def main() -> None:
    """The console command."""
    put_off_collection()
    spare_pandas()
    code = run()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    # Threads of Arrow may ask for Python while an interpreter winds down, and that aborts the process.
    os._exit(code)


def put_off_collection() -> None:
    """Let the first garbage collection wait until half a million objects are there.

    Nothing that is imported is garbage, and looking through it again and again takes an eighth of a
    short command's time. After that first time collections are what they usually are.
    """
    usual = gc.get_threshold()

    def settle(phase: str, _about: dict[str, int]) -> None:
        if phase == "stop":
            gc.callbacks.remove(settle)
            gc.freeze()
            gc.set_threshold(*usual)

    gc.callbacks.append(settle)
    gc.set_threshold(500_000, *usual[1:])


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, the process's own when None; returns its exit code.

    No traceback for a user's mistake: one sentence on standard error.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        make_app(given[:1] if given[:1] and given[0] in COMMANDS else COMMANDS)(
            given, prog_name="proa"
        )
    except SystemExit as ended:
        # So end typer's own answers: help, a usage error, an exit code.
        if isinstance(ended.code, int):
            return ended.code
        raise
    except UserError as error:
        report_error(error)
        return MISUSED
    except UnavailableError as error:
        report_error(error)
        return UNAVAILABLE
    except ProaError as error:
        report_error(error)
        return ANSWER_IS_NO
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
