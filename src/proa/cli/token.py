"""`proa token`: who may talk to a region's server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from proa.cli.output import console, print_json, stderr
from proa.cli.project import JsonOption, ProjectOption, find_project, load_regions
from proa.cli.serve import StateOption
from proa.errors import SettingsError
from proa.extras import needs

if TYPE_CHECKING:
    from pathlib import Path

    from proa.control.access import ControlAccess
    from proa.region.tokens import Tokens

_DAY_S = 24 * 60 * 60

RegionOption = Annotated[
    str | None,
    typer.Option(
        "--region", metavar="REGION", help="Of this region's server, as named in proa.yml."
    ),
]
ControlOption = Annotated[
    bool, typer.Option("--control", help="Of `proa control`, instead of a region's server.")
]


def register(app: typer.Typer) -> None:
    """Add the group of commands to `app`."""
    group = typer.Typer(
        help="Who may talk to a region's server, or to `proa control`.", no_args_is_help=True
    )
    group.command("create")(create)
    group.command("list")(show)
    group.command("revoke")(revoke)
    app.add_typer(group, name="token")


def create(
    region: RegionOption = None,
    control: ControlOption = False,
    role: Annotated[
        str | None,
        typer.Option(
            "--role",
            help="With --control: operator, or reader who may change nothing; default: operator.",
        ),
    ] = None,
    user: Annotated[
        str, typer.Option("--user", help="Whose token it is: the name that clients see.")
    ] = "admin@proa",
    comment: Annotated[str, typer.Option("--comment", help="What it is for.")] = "",
    days: Annotated[
        int | None, typer.Option("--days", min=1, help="How long it lives; default: for ever.")
    ] = None,
    state: StateOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it, once. The server keeps only its hash.

    Example: DATABRICKS_TOKEN=$(proa token create --region us-east)
    """
    lifetime = None if days is None else days * _DAY_S
    if _is_of_control(region, control):
        from proa.control.access import AccessRole

        _refuse_given(
            {"--comment": comment, "--state": state}, "a region's server, not proa control"
        )
        role = AccessRole.OPERATOR if role is None else role
        if role not in set(AccessRole):
            raise SettingsError(f"--role is one of {', '.join(AccessRole)}, not {role!r}")
        access, text = _access(project).create(user, AccessRole(role), lifetime)
        token_id = access.token_id
    else:
        _refuse_given({"--role": role}, "proa control; a region's tokens may do everything")
        with _tokens(region, state, project) as tokens:
            token, text = tokens.create(user, comment, lifetime)
        token_id = token.token_id
    if as_json:
        print_json({"token_id": token_id, "user": user, "token": text})
        return
    console.print(text, markup=False)
    stderr.print(f"token {token_id} of {user}: it is not shown again", markup=False)


def show(
    region: RegionOption = None,
    control: ControlOption = False,
    state: StateOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the tokens there are, without their text.

    Example: proa token list --region us-east
    """
    from proa.times import rfc3339

    if _is_of_control(region, control):
        _refuse_given({"--state": state}, "a region's server, not proa control")
        _print_rows([token.facts() for token in _access(project).list()], as_json=as_json)
        return
    with _tokens(region, state, project) as tokens:
        found = tokens.list()
    rows = [
        {
            "token_id": token.token_id,
            "user": token.user,
            "comment": token.comment,
            "created": rfc3339(token.created_at),
            "expires": None if token.expires_at is None else rfc3339(token.expires_at),
            "revoked": None if token.revoked_at is None else rfc3339(token.revoked_at),
        }
        for token in found
    ]
    _print_rows(rows, as_json=as_json)


def _print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    table = Table(*(rows[0] if rows else ("token_id",)))
    for row in rows:
        table.add_row(*(value or "-" for value in row.values()))
    console.print(table)


def revoke(
    token_id: Annotated[str, typer.Argument(help="The token's id, from `proa token list`.")],
    region: RegionOption = None,
    control: ControlOption = False,
    state: StateOption = None,
    project: ProjectOption = None,
) -> None:
    """Make a token worthless, within a second.

    Example: proa token revoke 0123456789ab --region us-east
    """
    if _is_of_control(region, control):
        _refuse_given({"--state": state}, "a region's server, not proa control")
        _access(project).revoke(token_id)
    else:
        with _tokens(region, state, project) as tokens:
            tokens.revoke(token_id)
    console.print(f"token {token_id} is revoked", markup=False)


def _is_of_control(region: str | None, control: bool) -> bool:
    """Whether `proa control` is meant. Raises SettingsError unless one of both is."""
    if control == (region is not None):
        raise SettingsError("name whose tokens are meant: --region REGION, or --control")
    return control


def _refuse_given(options: Mapping[str, str | None], whose: str) -> None:
    """Raise SettingsError for an option that would have no effect."""
    for option, value in options.items():
        if value:
            raise SettingsError(f"{option} is an option of tokens of {whose}; leave it out")


def _access(project: Path | None) -> ControlAccess:
    from proa.clock import RandomIds, SystemClock
    from proa.control.access import ControlAccess

    return ControlAccess.of(load_regions(project), SystemClock(), RandomIds())


@contextmanager
def _tokens(region: str | None, state: str | None, project: Path | None) -> Iterator[Tokens]:
    from proa.clock import RandomIds, SystemClock

    with needs("server"):
        from proa.region.state import Database, state_url
        from proa.region.tokens import Tokens

    assert region is not None
    settings = load_regions(project).region(region)
    url = state_url(region, state or settings.server.state, find_project(project))
    with closing(Database.open(url)) as database:
        yield Tokens(database, SystemClock(), RandomIds())
