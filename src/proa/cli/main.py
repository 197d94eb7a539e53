"""The console command `proa`.

Exit codes: 0 it worked; 1 it ran and the answer is no (an update failed, regions differ, not caught
up); 2 the command, a setting or the pipeline is wrong; 3 something did not answer, try again;
130 interrupted.
"""

from __future__ import annotations

import sys

import typer

from proa.cli import (
    demo,
    dry_run,
    events,
    graph,
    infra,
    init,
    query,
    recovery,
    run,
    serve,
    ship,
    tables,
    token,
)
from proa.cli.output import report_error
from proa.errors import ProaError, UnavailableError, UserError

app = typer.Typer(
    name="proa",
    help="Declarative lakehouse pipelines that survive the loss of a region.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def root() -> None:
    """Declarative lakehouse pipelines that survive the loss of a region."""


for group in (
    demo,
    dry_run,
    events,
    graph,
    infra,
    init,
    query,
    recovery,
    run,
    serve,
    ship,
    tables,
    token,
):
    group.register(app)

ANSWER_IS_NO = 1
MISUSED = 2
UNAVAILABLE = 3
INTERRUPTED = 130


def main() -> None:
    """Run the command line; no traceback for a user's mistake."""
    try:
        app()
    except UserError as error:
        report_error(error)
        sys.exit(MISUSED)
    except UnavailableError as error:
        report_error(error)
        sys.exit(UNAVAILABLE)
    except ProaError as error:
        report_error(error)
        sys.exit(ANSWER_IS_NO)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
