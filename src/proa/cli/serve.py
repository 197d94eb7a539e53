"""`proa serve`: one region's server."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from proa.cli.output import console, print_json
from proa.cli.project import (
    JsonOption,
    LogJsonOption,
    ProjectOption,
    TlsCertOption,
    TlsKeyOption,
    find_project,
    load_regions,
)
from proa.extras import needs

RegionOption = Annotated[
    str, typer.Option("--region", metavar="REGION", help="The region, as named in proa.yml.")
]
StateOption = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="PATH|URL",
        help="The server's state: a SQLite file or a postgresql:// URL;"
        " default: server.state of proa.yml, else .proa/REGION.db in the project.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("serve")(serve)


def serve(
    region: RegionOption,
    host: Annotated[
        str | None,
        typer.Option("--host", help="Address to listen on; default: server.host of proa.yml."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, help="Port; 0 takes a free one; default: server.port."
        ),
    ] = None,
    state: StateOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    log_json: LogJsonOption = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve one region: the Databricks REST API, jobs, schedules, and the workers that do it.

    Ends on SIGTERM and Ctrl-C once running batches have ended; what is left goes on at the next
    start.

    Exit codes: 0 stopped as asked; 1 another server owns the state; 2 a setting is wrong;
    3 the state or the storage did not answer, or the port is taken.

    Needs the libraries of the extra 'server'.

    Example: proa serve --region us-east --port 8101
    """
    with needs("server"):
        from proa.http.serving import Listen, log_to
        from proa.region.server import Server
        from proa.region.state import state_url

    agreed = load_regions(project)
    settings = agreed.region(region)
    log_to(sys.stderr, json=log_json or not sys.stderr.isatty())
    listen = Listen(
        host or settings.server.host,
        settings.server.port if port is None else port,
        tls_cert,
        tls_key,
    )
    server = Server(
        region,
        settings,
        state_url(region, state or settings.server.state, find_project(project)),
        listen,
        project=agreed,
    )
    server.stop_on_signals()

    def on_start(address: str) -> None:
        if as_json:
            print_json(
                {
                    "region": region,
                    "address": address,
                    "workspace_id": server.region.identity.workspace_id,
                }
            )
            sys.stdout.flush()
        else:
            console.print(f"region {region} answers at {address}", markup=False)

    server.run(on_start)
