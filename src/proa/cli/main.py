"""The console command `proa`.

Exit codes: 0 it worked; 1 it ran and the answer is no (an update failed, regions differ, not caught
up); 2 the command, a setting or the pipeline is wrong; 3 something did not answer, try again;
130 interrupted; 141 whoever reads the output stopped reading.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Annotated

import typer

from proa.cli import (
    adopt,
    advise,
    capture,
    check_zone,
    control,
    demo,
    dry_run,
    events,
    failover,
    gateway,
    graph,
    infra,
    init,
    maintain,
    port,
    query,
    schema,
    serve,
    ship,
    status,
    tables,
    token,
    verify,
)
from proa.cli import run as run_command
from proa.cli.exit_codes import ANSWER_IS_NO, INTERRUPTED, MISUSED, UNAVAILABLE
from proa.cli.output import print_text, report_error
from proa.errors import ProaError, UnavailableError, UserError
from proa.lazy import spare_pandas

app = typer.Typer(
    name="proa",
    help="Declarative lakehouse pipelines that survive the loss of a region.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_text(f"proa {version('proa')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Declarative lakehouse pipelines that survive the loss of a region."""


for group in (
    adopt,
    advise,
    capture,
    check_zone,
    control,
    demo,
    dry_run,
    events,
    failover,
    gateway,
    graph,
    infra,
    init,
    maintain,
    port,
    query,
    schema,
    status,
    verify,
    run_command,
    serve,
    ship,
    tables,
    token,
):
    group.register(app)


def main() -> None:
    """The console command."""
    spare_pandas()
    code = run()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    # Threads of Arrow may ask for Python while an interpreter winds down, and that aborts the process.
    os._exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, the process's own when None; returns its exit code.

    No traceback for a user's mistake: one sentence on standard error.
    """
    try:
        app(arguments, prog_name="proa")
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
