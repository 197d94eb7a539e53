"""Alerts: what is wrong is told once when it begins and once when it is over.

What was told, and what could not be delivered yet, lies beside the control record. A delivery that fails is
tried again, later each time, until it succeeds; meanwhile the witness shows it.
"""

from __future__ import annotations

import json
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Literal, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict

from proa.clock import Clock, Ids
from proa.errors import UnavailableError
from proa.recovery.control_record import FOLDER
from proa.settings import AlertSettings, EmailSettings, WebhookSettings
from proa.storage import NotFoundError, Store

_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 600.0
_TIMEOUT_S = 10.0
_MOST_WAITING = 1000
"""Of notices that cannot be delivered, the newest are kept."""


class Notice(BaseModel):
    """One thing that is told: an alert has begun, or is over."""

    model_config = ConfigDict(frozen=True)

    id: str
    """The same at each try: who gets it twice can tell."""
    group: str
    alert: str
    """What it is about: `lag:west`, `drift:east`, `conflict` ..."""
    state: Literal["raised", "cleared"]
    sentence: str
    at: AwareDatetime


class PendingNotice(BaseModel):
    """A notice on its way through one channel."""

    model_config = ConfigDict(frozen=True)

    channel: str
    notice: Notice
    tries: int = 0
    after: AwareDatetime
    """Not tried before."""
    error: str = ""
    """Why the last try failed."""


class RaisedAlert(BaseModel):
    """An alert that has begun and is not over."""

    model_config = ConfigDict(frozen=True)

    since: AwareDatetime
    sentence: str


class AlertState(BaseModel):
    """Everything that is remembered."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    raised: dict[str, RaisedAlert] = {}
    waiting: tuple[PendingNotice, ...] = ()


class Channel(Protocol):
    """A way to tell people."""

    name: str

    def deliver(self, notice: Notice) -> None:
        """Tell them. Raises UnavailableError when that did not work; then it is tried again."""


class AlertBook:
    """Holds what is wrong against what was told, and delivers what is new."""

    def __init__(
        self, store: Store, group: str, channels: Sequence[Channel], clock: Clock, ids: Ids
    ) -> None:
        self._store = store
        self._group = group
        self._path = f"{FOLDER}/{group}/alerts/state.json"
        self._channels = {channel.name: channel for channel in channels}
        self._clock = clock
        self._ids = ids
        self.state = self._read()
        self.unwritten: UnavailableError | None = None
        """Why the state stands in this process alone: the store takes no writes. None: it is in the store."""

    def update(self, wrong: Mapping[str, str]) -> None:
        """Take note of what is wrong now: sentences by alert. What has changed waits to be delivered."""
        now = self._clock.now()
        raised = dict(self.state.raised)
        notices = []
        for alert in sorted(raised.keys() - wrong.keys()):
            sentence = f"over: {raised.pop(alert).sentence}"
            notices.append(self._notice(alert, "cleared", sentence, now))
        for alert in sorted(wrong.keys() - raised.keys()):
            raised[alert] = RaisedAlert(since=now, sentence=wrong[alert])
            notices.append(self._notice(alert, "raised", wrong[alert], now))
        if notices:
            new = tuple(
                PendingNotice(channel=name, notice=notice, after=now)
                for notice in notices
                for name in self._channels
            )
            waiting = (*self.state.waiting, *new)[-_MOST_WAITING:]
            self._keep(AlertState(raised=raised, waiting=waiting))
        elif self.unwritten is not None:
            self._keep(self.state)

    def deliver(self) -> None:
        """Try what is due, oldest first; a channel that fails is not tried again before its pause."""
        now = self._clock.now()
        left: list[PendingNotice] = []
        stopped: set[str] = set()
        for delivery in self.state.waiting:
            channel = self._channels.get(delivery.channel)
            if channel is None:
                continue  # the settings do not name it any more
            if delivery.channel in stopped or delivery.after > now:
                stopped.add(delivery.channel)  # in order: nothing overtakes it
                left.append(delivery)
                continue
            try:
                channel.deliver(delivery.notice)
            except UnavailableError as error:
                stopped.add(delivery.channel)
                left.append(_put_off(delivery, now, str(error)))
        if tuple(left) != self.state.waiting:
            self._keep(self.state.model_copy(update={"waiting": tuple(left)}))

    def _notice(
        self, alert: str, state: Literal["raised", "cleared"], sentence: str, now: datetime
    ) -> Notice:
        return Notice(
            id=self._ids.new(),
            group=self._group,
            alert=alert,
            state=state,
            sentence=sentence,
            at=now,
        )

    def _keep(self, state: AlertState) -> None:
        """Go on from a state, and write it down. A store that is full must not keep people from being told."""
        self.state = state
        try:
            self._store.put(self._path, state.model_dump_json().encode())
            self.unwritten = None
        except UnavailableError as error:
            self.unwritten = error

    def _read(self) -> AlertState:
        try:
            return AlertState.model_validate_json(self._store.get(self._path))
        except NotFoundError:
            return AlertState()


def _put_off(delivery: PendingNotice, now: datetime, error: str) -> PendingNotice:
    pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**delivery.tries)
    return delivery.model_copy(
        update={
            "tries": delivery.tries + 1,
            "after": now + timedelta(seconds=pause),
            "error": error,
        }
    )


class Webhook:
    """Posts each notice as JSON."""

    name = "webhook"

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings

    def deliver(self, notice: Notice) -> None:
        request = urllib.request.Request(  # noqa: S310 - the settings allow http and https only
            self._settings.url,
            json.dumps(notice.model_dump(mode="json")).encode(),
            {"content-type": "application/json", **self._settings.headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310 - see above
                pass
        except (urllib.error.URLError, OSError) as error:
            raise UnavailableError(f"the webhook did not take the alert: {error}") from error


class Mailer:
    """Sends each notice as an e-mail."""

    name = "email"

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings

    def deliver(self, notice: Notice) -> None:
        settings = self._settings
        try:
            with smtplib.SMTP(settings.host, settings.port, timeout=_TIMEOUT_S) as server:
                if settings.tls:
                    server.starttls(context=ssl.create_default_context())
                if settings.user is not None:
                    server.login(settings.user, settings.password or "")
                server.send_message(mail_of(notice, settings))
        except (smtplib.SMTPException, OSError) as error:
            raise UnavailableError(f"the mail server did not take the alert: {error}") from error


def mail_of(notice: Notice, settings: EmailSettings) -> EmailMessage:
    """A notice as an e-mail."""
    mail = EmailMessage()
    mail["From"], mail["To"] = settings.sender, ", ".join(settings.to)
    mail["Subject"] = f"[proa {notice.group}] {notice.alert} {notice.state}"
    mail["Message-ID"] = f"<{notice.id}@proa>"
    mail.set_content(f"{notice.sentence}\n\n{notice.at.isoformat()}\n")
    return mail


def open_channels(settings: AlertSettings) -> list[Channel]:
    """The channels that `proa.yml` names."""
    channels: list[Channel] = []
    if settings.webhook is not None:
        channels.append(Webhook(settings.webhook))
    if settings.email is not None:
        channels.append(Mailer(settings.email))
    return channels
