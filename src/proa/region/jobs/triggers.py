"""When a job runs by itself: by a schedule, at intervals, when files arrive, or all the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from proa.http.api_errors import InvalidParameterError
from proa.region.jobs.quartz import CronExpression, time_zone
from proa.times import millis, moment

_HOUR_MS = 60 * 60 * 1000
_UNITS = {"HOURS": _HOUR_MS, "DAYS": 24 * _HOUR_MS, "WEEKS": 7 * 24 * _HOUR_MS}
_KINDS = ("periodic", "file_arrival")
_MOST = 2**31


def check_trigger(settings: Mapping[str, Any]) -> None:
    """Raise InvalidParameterError for a schedule or trigger that no region could follow."""
    given = [key for key in ("schedule", "continuous", "trigger") if settings.get(key)]
    if len(given) > 1:
        raise InvalidParameterError(
            f"a job has one of 'schedule', 'continuous' and 'trigger', not {' and '.join(given)}"
        )
    cron_of(settings)
    trigger = settings.get("trigger")
    if not trigger:
        return
    kinds = [key for key, value in trigger.items() if value and key != "pause_status"]
    if len(kinds) != 1 or kinds[0] not in _KINDS or not isinstance(trigger[kinds[0]], Mapping):
        raise InvalidParameterError(
            f"a trigger has one of {', '.join(_KINDS)}; it has {', '.join(kinds) or 'none of them'}"
        )
    body = trigger[kinds[0]]
    if kinds[0] == "periodic":
        interval = body.get("interval")
        if not _is_number(interval) or interval < 1 or body.get("unit") not in _UNITS:
            raise InvalidParameterError(
                f"a periodic trigger has an 'interval' of 1 or more and a 'unit' of"
                f" {', '.join(_UNITS)}; it has {interval!r} and {body.get('unit')!r}"
            )
        return
    if not body.get("url") or not isinstance(body["url"], str):
        raise InvalidParameterError("a file arrival trigger needs the 'url' of a folder")
    for name in ("min_time_between_triggers_seconds", "wait_after_last_change_seconds"):
        if body.get(name) is not None and (not _is_number(body[name]) or body[name] < 0):
            raise InvalidParameterError(f"{name} is a number of seconds, not {body[name]!r}")


def cron_of(settings: Mapping[str, Any]) -> tuple[CronExpression, str] | None:
    """The schedule's times and its time zone, paused or not; None for a job without schedule."""
    schedule = settings.get("schedule")
    if not schedule:
        return None
    expression, zone = schedule.get("quartz_cron_expression"), schedule.get("timezone_id")
    if not expression or not zone:
        raise InvalidParameterError("a schedule needs quartz_cron_expression and timezone_id")
    time_zone(str(zone))
    return CronExpression.parse(str(expression)), str(zone)


def next_fire(settings: Mapping[str, Any], now: int, due: int | None = None) -> int | None:
    """When the job's schedule or interval is due next, milliseconds since 1970.

    `due` is when it was due last: intervals are counted from there. Returns None if never, or if
    the job is paused.
    """
    trigger = settings.get("trigger") or {}
    if trigger.get("periodic") and trigger.get("pause_status") != "PAUSED":
        interval = trigger["periodic"]["interval"] * _UNITS[trigger["periodic"]["unit"]]
        begin = now if due is None else due
        return int(begin + interval * max(1, (now - begin) // interval + 1))
    schedule = settings.get("schedule") or {}
    times = cron_of(settings)
    if times is None or schedule.get("pause_status") == "PAUSED":
        return None
    expression, zone = times
    found = expression.next_after(moment(now), zone)
    return None if found is None else millis(found)


def is_kept_running(settings: Mapping[str, Any]) -> bool:
    """Whether the job is continuous and not paused."""
    continuous = settings.get("continuous") or {}
    return bool(continuous) and continuous.get("pause_status", "UNPAUSED") != "PAUSED"


def watches_files(settings: Mapping[str, Any]) -> bool:
    """Whether the job waits for files to arrive, and is not paused."""
    trigger = settings.get("trigger") or {}
    return bool(trigger.get("file_arrival")) and trigger.get("pause_status") != "PAUSED"


@dataclass(frozen=True)
class FilesSeen:
    """What a look at a folder found."""

    count: int
    newest: int
    """When the newest file was written, milliseconds since 1970; of a manifest, its last number."""
    digest: str
    """The same for the same files."""


@dataclass(frozen=True)
class Arrival:
    """What a job that waits for files knows of them. Times are milliseconds since 1970."""

    count: int
    newest: int
    digest: str
    changed_at: int | None = None
    """When files were last found that no run has been started for; None: there are none."""
    fired_at: int | None = None
    """When a run was last started for files."""

    def after_look(self, seen: FilesSeen, now: int) -> Arrival:
        """What is known after a look. Files that went away are no reason to run."""
        if seen.digest == self.digest:
            return self
        arrived = seen.count > self.count or seen.newest > self.newest
        changed_at = now if arrived else self.changed_at
        return replace(
            self,
            count=seen.count,
            newest=seen.newest,
            digest=seen.digest,
            changed_at=changed_at,
        )

    def due_at(self, trigger: Mapping[str, Any]) -> int | None:
        """When a run is to be started, given the job's `file_arrival`. None: not before files come."""
        if self.changed_at is None:
            return None
        quiet = 1000 * int(trigger.get("wait_after_last_change_seconds") or 0)
        apart = 1000 * int(trigger.get("min_time_between_triggers_seconds") or 0)
        since = self.changed_at + quiet
        return since if self.fired_at is None else max(since, self.fired_at + apart)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST
