"""The witness's pages over HTTP: signing in, looking, and forms that nobody else can send."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from proa.clock import Clock, Ids
from proa.control import page
from proa.control.access import ControlAccess
from proa.control.control_routes import (
    Wanted,
    WitnessOf,
    as_api_error,
    change_request,
    check_confirmation,
    list_reports,
    read_report,
)
from proa.control.page import Visitor
from proa.errors import ProaError
from proa.http.api_errors import PermissionDeniedError
from proa.recovery.control_record import Operation

router = APIRouter(include_in_schema=False)
OPEN_PATHS = ("/", "/ui", "/ui/")
"""What the gate lets through: pages ask for a cookie, not for a token."""

_COOKIE = "proa_session"
_SESSION = timedelta(hours=12)
_MOST_SESSIONS = 1000
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


@dataclass(frozen=True)
class Session:
    """Somebody who has signed in."""

    token: str
    csrf: str
    until: datetime


class Sessions:
    """Who has signed in at this witness. They end with it, and with their tokens."""

    def __init__(self, access: ControlAccess, clock: Clock, ids: Ids) -> None:
        self._access = access
        self._clock = clock
        self._ids = ids
        self._sessions: dict[str, Session] = {}

    def begin(self, token: str) -> str | None:
        """The name of a new session. Returns None if the token is not good."""
        if self._access.user_of(token) is None:
            return None
        now = self._clock.now()
        live = {name: one for name, one in self._sessions.items() if one.until > now}
        self._sessions = dict(list(live.items())[-_MOST_SESSIONS:])
        name = f"{self._ids.new()}{self._ids.new()}"
        csrf = f"{self._ids.new()}{self._ids.new()}"
        self._sessions[name] = Session(token, csrf, now + _SESSION)
        return name

    def end(self, name: str) -> None:
        """Forget a session."""
        self._sessions.pop(name, None)

    def visitor(self, name: str) -> Visitor | None:
        """Who a session belongs to. Returns None if it is over, or its token is."""
        session = self._sessions.get(name)
        if session is None or session.until <= self._clock.now():
            return None
        user = self._access.user_of(session.token)
        return None if user is None else Visitor(user, session.csrf)


class NotSignedInError(ProaError):
    """A page was asked for by nobody that is known."""


def _visitor(request: Request) -> Visitor:
    sessions: Sessions = request.app.state.sessions
    visitor = sessions.visitor(request.cookies.get(_COOKIE, ""))
    if visitor is None:
        raise NotSignedInError("sign in first")
    return visitor


def _sender(request: Request, csrf: Annotated[str, Form()] = "") -> Visitor:
    """Who sends a form. Raises PermissionDeniedError when it is not one of our own."""
    check_origin(request)
    visitor = _visitor(request)
    if not hmac.compare_digest(csrf.encode(), visitor.csrf.encode()):
        raise PermissionDeniedError("this form is not from this page; open the page again")
    return visitor


def _operating_sender(visitor: Annotated[Visitor, Depends(_sender)]) -> Visitor:
    if not visitor.may_change:
        raise PermissionDeniedError(f"{visitor.user} may look, and not change anything")
    return visitor


VisitorOf = Annotated[Visitor, Depends(_visitor)]
SenderOf = Annotated[Visitor, Depends(_sender)]
OperatorOf = Annotated[Visitor, Depends(_operating_sender)]


def check_origin(request: Request) -> None:
    """Raises PermissionDeniedError when a browser says that a form comes from another site."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise PermissionDeniedError("this form comes from another site")


@router.get("/")
@router.get("/ui")
def root() -> Response:
    """People type the address without a path."""
    return RedirectResponse("/ui/", 303)


@router.get("/ui/")
def overview(witness: WitnessOf, visitor: VisitorOf) -> Response:
    """All regions."""
    return answer(page.overview_page(witness, visitor))


@router.post("/ui/sign-in")
def sign_in(request: Request, token: Annotated[str, Form()] = "") -> Response:
    """Begin a session with a token."""
    check_origin(request)
    name = request.app.state.sessions.begin(token.strip())
    if name is None:
        return answer(
            page.sign_in_page("The token is not known here, was revoked, or is over."), 401
        )
    redirect = RedirectResponse("/ui/", 303)
    redirect.set_cookie(
        _COOKIE,
        name,
        max_age=int(_SESSION.total_seconds()),
        path="/ui",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return redirect


@router.post("/ui/sign-out")
def sign_out(request: Request, _visitor: SenderOf) -> Response:
    """End the session."""
    request.app.state.sessions.end(request.cookies.get(_COOKIE, ""))
    redirect = RedirectResponse("/ui/", 303)
    redirect.delete_cookie(_COOKIE, path="/ui")
    return redirect


@router.get("/ui/regions/{region}")
def region(witness: WitnessOf, visitor: VisitorOf, region: str) -> Response:
    """One region."""
    if region not in witness.settings.regions:
        return answer(page.problem_page(visitor, f"There is no region {region!r}."), 404)
    return answer(page.region_page(witness, region, visitor))


@router.get("/ui/history")
def history(witness: WitnessOf, visitor: VisitorOf) -> Response:
    """Who changed what."""
    return answer(page.history_page(witness, list_reports(witness), visitor))


@router.get("/ui/reports/{name}")
def report(witness: WitnessOf, visitor: VisitorOf, name: str) -> Response:
    """One report of a drill or a promotion."""
    return answer(page.report_page(read_report(witness, name), visitor))


@router.get("/ui/validate")
def validate(
    witness: WitnessOf,
    visitor: VisitorOf,
    again: bool = False,  # noqa: FBT001, FBT002 - a field of the query
) -> Response:
    """Would a failover work now?"""
    look = witness.validate(again=again)
    return answer(page.checks_page(look, witness.clock.now(), visitor))


@router.get("/ui/change/{verb}")
def explain(  # noqa: PLR0913, PLR0917 - a form's fields
    witness: WitnessOf,
    visitor: VisitorOf,
    verb: Operation,
    to: Annotated[str | None, Query()] = None,
    max_loss: Annotated[str, Query()] = "",
    force: Annotated[str, Query()] = "",
) -> Response:
    """What a change would do. Changes nothing."""
    if not visitor.may_change:
        raise PermissionDeniedError(f"{visitor.user} may look, and not change anything")
    request = change_request(witness, verb, Wanted(to=to, max_loss=max_loss, force=bool(force)))
    try:
        steps = witness.explain(request)
        confirm = witness.confirmation(request)
    except ProaError as error:
        raise as_api_error(error) from error
    return answer(page.confirmation_page(request, steps, confirm, visitor, max_loss))


@router.post("/ui/change/{verb}")
def change(  # noqa: PLR0913, PLR0917 - a form's fields
    witness: WitnessOf,
    visitor: OperatorOf,
    verb: Operation,
    to: Annotated[str | None, Form()] = None,
    reason: Annotated[str, Form()] = "",
    max_loss: Annotated[str, Form()] = "",
    force: Annotated[str, Form()] = "",
    confirm: Annotated[str, Form()] = "",
) -> Response:
    """Begin a change that was explained and confirmed."""
    wanted = Wanted(
        to=to, reason=reason, max_loss=max_loss, force=bool(force), confirm=confirm[:100]
    )
    request = change_request(witness, verb, wanted)
    check_confirmation(witness, request, confirm)
    return _after(lambda: witness.begin(request, visitor.user))


@router.post("/ui/resume")
def resume(witness: WitnessOf, visitor: OperatorOf) -> Response:
    """Finish what is under way."""
    return _after(lambda: witness.resume(visitor.user))


@router.post("/ui/cancel")
def cancel(witness: WitnessOf, visitor: OperatorOf) -> Response:
    """Take back what is under way."""
    return _after(lambda: witness.cancel(visitor.user))


def answer(text: str, status: int = 200) -> HTMLResponse:
    """A page, with the headers that keep it for its reader alone."""
    return HTMLResponse(text, status, headers=dict(_HEADERS))


async def answer_stranger(_request: Request, _error: Exception) -> Response:
    """The form that asks for a token."""
    return answer(page.sign_in_page(), 401)


def answer_page_error(request: Request, error: ProaError, status: int) -> Response:
    """A page that says what went wrong."""
    visitor = request.app.state.sessions.visitor(request.cookies.get(_COOKIE, ""))
    return answer(page.problem_page(visitor, str(error)), status)


def _after(begin: Callable[[], Any]) -> Response:
    try:
        begin()
    except ProaError as error:
        raise as_api_error(error) from error
    return RedirectResponse("/ui/", 303)
