"""`proa gateway`: the one address that consumers read, and who may read it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from proa.cli.output import console, new_table, print_json, print_table, print_text, stderr
from proa.cli.project import (
    JsonOption,
    LogJsonOption,
    ProjectOption,
    TlsCertOption,
    TlsKeyOption,
    find_project,
    load_regions,
)
from proa.errors import SettingsError, UnavailableError
from proa.extras import needs

if TYPE_CHECKING:
    from proa.gateway.recipients import Recipients
    from proa.settings import ProjectSettings
    from proa.storage import Store

_DAY_S = 24 * 60 * 60

StateOption = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="PATH|URL",
        help="The gateway's state; default: gateway.state of proa.yml, else .proa/gateway in the project.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command and its group to `app`."""
    group = typer.Typer(invoke_without_command=True, help=serve_gateway.__doc__)
    group.callback(invoke_without_command=True)(serve_gateway)
    recipients = typer.Typer(help="Who may read the gateway's shares.", no_args_is_help=True)
    recipients.command("add")(add)
    recipients.command("list")(show)
    recipients.command("remove")(remove)
    group.add_typer(recipients, name="recipient")
    app.add_typer(group, name="gateway")


def serve_gateway(
    context: typer.Context,
    host: Annotated[
        str | None,
        typer.Option("--host", help="Address to listen on; default: gateway.host of proa.yml."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, help="Port; 0 takes a free one; default: gateway.port."
        ),
    ] = None,
    state: StateOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    log_json: LogJsonOption = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve consumers one address: Delta Sharing and read-only SQL, from whichever region is active.

    Follows the control record: a change of the active region is seen within a second, nothing older is
    served after something newer, and while nothing can be served the answer is 503 at once.

    Exit codes: 0 stopped as asked; 2 a setting is wrong; 3 the state did not answer, or the port is taken.

    Needs the libraries of the extra 'server'.

    Example: proa gateway --port 8200
    """
    if context.invoked_subcommand is not None:
        return
    with needs("server"):
        from proa.gateway.gateway_app import GatewayServer
        from proa.http.serving import Listen, log_to

    from proa.clock import RandomIds, SystemClock

    settings = load_regions(project)
    _check_shares(settings, project)
    log_to(sys.stderr, json=log_json or not sys.stderr.isatty())
    listen = Listen(
        host or settings.gateway.host,
        settings.gateway.port if port is None else port,
        tls_cert,
        tls_key,
    )
    server = GatewayServer(
        settings, _state(settings, state, project), listen, SystemClock(), RandomIds()
    )
    server.stop_on_signals()

    def on_start(address: str) -> None:
        if as_json:
            print_json({"address": address, "endpoint": f"{address}/delta-sharing/"})
            sys.stdout.flush()
        else:
            print_text(f"the gateway answers at {address}")

    server.run(on_start)


def add(
    name: Annotated[str, typer.Argument(help="The recipient's name.")],
    share: Annotated[
        list[str] | None,
        typer.Option(
            "--share",
            metavar="SHARE",
            help="A share it may read; again for more.",
            show_default="all",
        ),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option("--days", min=1, help="How long its token lives; default: for ever."),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            "--profile", metavar="FILE", help="Write the profile file there; default: print it."
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="URL",
            help="Where it reaches the gateway; default: gateway.address of proa.yml, else host and port.",
        ),
    ] = None,
    state: StateOption = None,
    project: ProjectOption = None,
) -> None:
    """Make a recipient's token and its profile file, once. The gateway keeps only the token's hash.

    Several tokens may have one name: make a new one, hand it over, remove the old one by its id.

    Example: proa gateway recipient add ada --days 90 --profile ada.share
    """
    from proa.gateway.recipients import profile_of

    settings = load_regions(project)
    known = {name.lower() for name in settings.gateway.shares}
    for wanted in share or ():
        if known and wanted.lower() not in known:
            raise SettingsError(
                f"there is no share {wanted!r} in proa.yml; it names {', '.join(settings.gateway.shares)}"
            )
    lifetime = None if days is None else float(days * _DAY_S)
    recipient, text = _recipients(settings, state, project).add(name, share, lifetime)
    gateway = settings.gateway
    where = address or gateway.address or f"http://{gateway.host}:{gateway.port}"
    document = profile_of(recipient, text, f"{where.rstrip('/')}/delta-sharing/")
    if profile is None:
        print_json(document)
    else:
        _write_secret(profile, document)
        print_text(f"the profile of {name} is in {profile}")
    stderr.print(f"token {recipient.token_id} of {name}: it is not shown again", markup=False)


def show(
    state: StateOption = None, project: ProjectOption = None, as_json: JsonOption = False
) -> None:
    """Show the recipients there are, without their tokens' text.

    Example: proa gateway recipient list
    """
    from proa.times import rfc3339

    rows = [
        {
            "recipient": one.name,
            "token_id": one.token_id,
            "shares": None if one.shares is None else list(one.shares),
            "created": rfc3339(one.created_at),
            "expires": None if one.expires_at is None else rfc3339(one.expires_at),
        }
        for one in _recipients(load_regions(project), state, project).list()
    ]
    if as_json:
        print_json(rows)
        return
    table = new_table("recipient", "token", "shares", "created", "expires")
    for row in rows:
        shares = "all" if row["shares"] is None else ", ".join(row["shares"])
        texts = (row["recipient"], row["token_id"], shares, row["created"], row["expires"] or "-")
        table.add_row(*(Text(str(text)) for text in texts))
    print_table(table)


def remove(
    name: Annotated[
        str, typer.Argument(help="The recipient's name, or the id of one of its tokens.")
    ],
    state: StateOption = None,
    project: ProjectOption = None,
) -> None:
    """Make a recipient's tokens worthless, within a second.

    Example: proa gateway recipient remove ada
    """
    count = _recipients(load_regions(project), state, project).remove(name)
    console.print(f"{count} token{'s' * (count != 1)} of {name}: removed", markup=False)


def _recipients(settings: ProjectSettings, state: str | None, project: Path | None) -> Recipients:
    from proa.clock import RandomIds, SystemClock
    from proa.gateway.recipients import Recipients

    return Recipients(_state(settings, state, project), SystemClock(), RandomIds())


def _state(settings: ProjectSettings, state: str | None, project: Path | None) -> Store:
    from proa.storage import Store, absolute

    place = state or settings.gateway.state or str(find_project(project) / ".proa" / "gateway")
    return Store.open(absolute(place), settings.gateway.options)


def _check_shares(settings: ProjectSettings, project: Path | None) -> None:
    """Raise SettingsError, with its place in proa.yml, for a table that no region publishes."""
    from proa.gateway.shares import check_shares
    from proa.runtime.declared import read_declared
    from proa.settings import FILE_NAME
    from proa.storage import is_url
    from proa.yaml_file import read_yaml

    for region in settings.regions.values():
        if not is_url(region.storage) and not Path(region.storage).is_dir():
            continue
        try:
            declared = read_declared(region.storage, region.options)
        except UnavailableError:
            continue  # a region may be lost; the gateway starts nevertheless
        if declared is None:
            continue
        try:
            check_shares(settings, declared)
        except SettingsError as error:
            file = read_yaml(find_project(project) / FILE_NAME)
            keys = [int(key) if key.isdigit() else key for key in error.keys]
            raise SettingsError(file.mistake(str(error), keys)) from error
        return


def _write_secret(path: Path, document: dict[str, object]) -> None:
    """Write a file that only its owner can read."""
    try:
        path.touch(mode=0o600)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot write the profile {str(path)!r}: {error.strerror}") from error
