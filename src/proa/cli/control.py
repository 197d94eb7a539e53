"""`proa control`: the witness's server."""

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


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("control")(control)


def control(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8300,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    log_json: LogJsonOption = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the witness: a page, the verbs over REST, health checks for load balancers, and alerts.

    Runs in the third place, beside the control record. It keeps nothing of its own: it may be stopped, or
    started on another machine, at any time. Tokens: `proa token create --control`.

    Exit codes: 0 stopped as asked; 2 a setting is wrong, or proa.yml names no third place; 3 the third
    place did not answer, or the port is taken.

    Needs the libraries of the extra 'server'.

    Example: proa control --host 0.0.0.0 --tls-cert chain.pem --tls-key key.pem
    """
    from proa.clock import RandomIds, SystemClock

    with needs("server"):
        from proa.control.control_app import create_control_app, open_witness
        from proa.control.official_routes import account_id
        from proa.http.serving import HttpServer, Listen, log_to

    from proa.control.access import ControlAccess

    settings, clock, ids = load_regions(project), SystemClock(), RandomIds()
    log_to(sys.stderr, json=log_json or not sys.stderr.isatty())
    access = ControlAccess.of(settings, clock, ids)
    witness = open_witness(settings, find_project(project), clock, ids)
    listen = Listen(host, port, tls_cert, tls_key)
    server = HttpServer(create_control_app(witness, access, ids), listen)
    server.stop_on_signals()

    def on_start(address: str) -> None:
        if as_json:
            facts = {"address": address, "account_id": account_id(witness)}
            print_json({"group": witness.recovery.group, **facts})
            sys.stdout.flush()
        else:
            console.print(f"control of {witness.recovery.group} answers at {address}", markup=False)

    sockets = listen.sockets()
    witness.start()
    try:
        server.run(sockets, on_start)
    finally:
        witness.stop()
