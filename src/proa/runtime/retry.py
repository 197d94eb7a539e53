"""Trying again: how often, how long after, and what is not worth it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from proa.backoff import Retries
from proa.clock import Clock, Ids
from proa.errors import ConflictError, SettingsError, UnavailableError

FLOW_RETRIES = "pipelines.maxFlowRetryAttempts"
UPDATE_RETRIES = "pipelines.numUpdateRetryAttempts"

_T = TypeVar("_T")


def flow_retries(configuration: Mapping[str, str]) -> Retries:
    """Two retries of a flow, unless the configuration says otherwise."""
    return Retries(_number(configuration, FLOW_RETRIES, 2), 1.0)


def update_retries(configuration: Mapping[str, str], *, continuous: bool) -> Retries:
    """Five retries of an update, and no end of them while it is continuous."""
    default = None if continuous else 5
    return Retries(_number(configuration, UPDATE_RETRIES, default), 5.0)


NO_RETRIES = Retries(0, 1.0)


def worth_another_try(error: BaseException) -> bool:
    """Whether the same thing may go well next time: not when the user has to mend it."""
    return isinstance(error, (UnavailableError, ConflictError))


@dataclass(frozen=True)
class Retrier:
    """Tries things again, until they go well, are hopeless, or nobody wants them any more."""

    retries: Retries
    clock: Clock
    ids: Ids
    stop: threading.Event
    """Set: no more waiting."""

    def call(self, work: Callable[[], _T], failed: Callable[[Exception, int, float], None]) -> _T:
        """What `work` returns. An error worth it leads to another try while retries are left.

        `failed(error, tries so far, seconds until the next)` is called before each pause. A stop
        during a pause raises the last error.
        """
        for tries, pause in enumerate(self.retries.pauses(self.ids), 1):
            try:
                return work()
            except Exception as error:
                if not worth_another_try(error):
                    raise
                failed(error, tries, pause)
                if self.clock.wait(pause, self.stop):
                    raise
        return work()


def _number(configuration: Mapping[str, str], key: str, default: int | None) -> int | None:
    value = configuration.get(key)
    if value is None:
        return default
    try:
        found = int(value)
    except ValueError as error:
        raise SettingsError(f"{key} must be a whole number, not {value!r}") from error
    return None if found < 0 else found
