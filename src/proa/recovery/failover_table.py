"""The failover table: what follows what, when the active region changes.

One row is one thing that may happen in one phase. Everything else is a mistake, and is refused. The
picture in docs/guide/recovery.md is drawn from these rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from proa.errors import ConflictError
from proa.recovery.control_record import Operation, Phase


class Event(StrEnum):
    """What may happen to a change of roles."""

    ASKED_TO_SWITCH_OVER = "a switchover is asked for"
    ASKED_TO_FAIL_OVER = "a failover is asked for"
    ASKED_TO_DRILL = "a drill is asked for"
    CANCELLED = "it is cancelled"
    FENCED = "the active region is fenced"
    DRAINED = "the target has processed everything up to the fence"
    DRAINED_UNPLANNED = "the target has processed everything that landed"
    DRAINED_IN_DRILL = "the standby has processed everything up to the fence"
    PROVEN = "both regions are proven equal"
    PROVEN_IN_DRILL = "the drill's proof is filed"
    PROMOTED = "the target runs all the time"
    REPOINTED = "consumers read the target"
    DEMOTED = "the old region is a standby"
    RESTORED = "the active region runs as before"


class Action(StrEnum):
    """What a phase does; each may be done again."""

    FENCE = "fence"
    DRAIN = "drain"
    PROVE = "prove"
    ACTIVATE = "activate"
    REPOINT = "repoint"
    DEMOTE = "demote"
    RESTORE = "restore"


ACTIONS: dict[Phase, Action] = {
    Phase.FENCING: Action.FENCE,
    Phase.DRAINING: Action.DRAIN,
    Phase.PROVING: Action.PROVE,
    Phase.PROMOTING: Action.ACTIVATE,
    Phase.REPOINTING: Action.REPOINT,
    Phase.DEMOTING: Action.DEMOTE,
    Phase.RESTORING: Action.RESTORE,
}
"""What is done in each phase, again and again until it is done."""


@dataclass(frozen=True)
class Transition:
    """A row of the table."""

    phase: Phase
    event: Event
    next: Phase
    sentence: str
    """For the history: `{target}`, `{source}` and `{epoch}` are those of the entry."""
    commits: bool = False
    """The epoch grows and the target becomes the active region: the point of no return."""


TABLE: tuple[Transition, ...] = (
    Transition(
        Phase.STEADY,
        Event.ASKED_TO_SWITCH_OVER,
        Phase.FENCING,
        "{source} is told to stop, so that {target} can overtake it",
    ),
    Transition(
        Phase.STEADY,
        Event.ASKED_TO_FAIL_OVER,
        Phase.DRAINING,
        "{source} is given up; {target} processes what has landed there",
    ),
    Transition(
        Phase.STEADY,
        Event.ASKED_TO_DRILL,
        Phase.DRAINING,
        "{target} practises: it processes what has landed, and consumers stay with {source}",
    ),
    Transition(
        Phase.FENCING,
        Event.FENCED,
        Phase.DRAINING,
        "{source} has stopped; {target} processes everything that was shipped",
    ),
    Transition(
        Phase.DRAINING,
        Event.DRAINED,
        Phase.PROVING,
        "{target} has processed everything; it is compared with {source}",
    ),
    Transition(
        Phase.DRAINING,
        Event.DRAINED_UNPLANNED,
        Phase.PROMOTING,
        "{target} has processed everything that landed, and is active in epoch {epoch}",
        commits=True,
    ),
    Transition(
        Phase.DRAINING,
        Event.DRAINED_IN_DRILL,
        Phase.PROVING,
        "{target} has processed everything; it is compared with {source}",
    ),
    Transition(
        Phase.PROVING,
        Event.PROVEN,
        Phase.PROMOTING,
        "{target} equals {source}, and is active in epoch {epoch}",
        commits=True,
    ),
    Transition(
        Phase.PROVING,
        Event.PROVEN_IN_DRILL,
        Phase.STEADY,
        "the drill of {target} is over, its report is filed",
    ),
    Transition(
        Phase.PROMOTING,
        Event.PROMOTED,
        Phase.REPOINTING,
        "{target} runs all the time; consumers are sent to it",
    ),
    Transition(
        Phase.REPOINTING,
        Event.REPOINTED,
        Phase.DEMOTING,
        "consumers read {target}; {source} becomes a standby",
    ),
    Transition(
        Phase.DEMOTING,
        Event.DEMOTED,
        Phase.STEADY,
        "{target} is active in epoch {epoch}",
    ),
    Transition(
        Phase.RESTORING,
        Event.RESTORED,
        Phase.STEADY,
        "it was cancelled: {source} is active as before",
    ),
    *(
        Transition(
            phase,
            Event.CANCELLED,
            Phase.RESTORING,
            "it is cancelled: {source} goes on as before",
        )
        for phase in (Phase.FENCING, Phase.DRAINING, Phase.PROVING)
    ),
    *(
        Transition(
            phase,
            Event.ASKED_TO_FAIL_OVER,
            Phase.DRAINING,
            "{source} was lost meanwhile and is given up; {target} processes what has landed there",
        )
        for phase in (Phase.FENCING, Phase.DRAINING, Phase.PROVING, Phase.RESTORING)
    ),
)


def transition(phase: Phase, event: Event) -> Transition:
    """The row for an event in a phase. Raises ConflictError when the table has no such row."""
    for row in TABLE:
        if (row.phase, row.event) == (phase, event):
            return row
    raise ConflictError(
        f"in the phase {phase} it cannot be that {event}; `proa resume` finishes what is under way",
        condition="CHANGE_UNDER_WAY",
    )


def phases(operation: Operation) -> list[Phase]:
    """The phases that an operation passes through, in order, when nothing goes wrong."""
    found: list[Phase] = []
    phase, event = Phase.STEADY, _ASKED[operation]
    while True:
        phase = transition(phase, event).next
        if phase is Phase.STEADY:
            return found
        found.append(phase)
        event = done(phase, operation)


def asked(operation: Operation) -> Event:
    """The event that begins an operation."""
    return _ASKED[operation]


def done(phase: Phase, operation: Operation) -> Event:
    """The event that says that a phase's action is done."""
    if phase is Phase.DRAINING:
        return {
            Operation.FAILOVER: Event.DRAINED_UNPLANNED,
            Operation.DRILL: Event.DRAINED_IN_DRILL,
        }.get(operation, Event.DRAINED)
    if phase is Phase.PROVING and operation is Operation.DRILL:
        return Event.PROVEN_IN_DRILL
    return _DONE[phase]


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> steady"]
    lines += [f"    {row.phase} --> {row.next}: {row.event}" for row in TABLE]
    return "\n".join(lines)


_ASKED = {
    Operation.SWITCHOVER: Event.ASKED_TO_SWITCH_OVER,
    Operation.FAILBACK: Event.ASKED_TO_SWITCH_OVER,
    Operation.FAILOVER: Event.ASKED_TO_FAIL_OVER,
    Operation.DRILL: Event.ASKED_TO_DRILL,
}
_DONE = {
    Phase.FENCING: Event.FENCED,
    Phase.PROVING: Event.PROVEN,
    Phase.PROMOTING: Event.PROMOTED,
    Phase.REPOINTING: Event.REPOINTED,
    Phase.DEMOTING: Event.DEMOTED,
    Phase.RESTORING: Event.RESTORED,
}
