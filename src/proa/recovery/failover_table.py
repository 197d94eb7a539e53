"""The failover table: what follows what, when the active region changes.

One row is one thing that may happen in one phase. Everything else is a mistake, and is refused. The
picture in docs/guide/recovery.md is drawn from these rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from proa.errors import ConflictError
from proa.recovery.control_record import Operation, Phase


class FailoverEvent(StrEnum):
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
    event: FailoverEvent
    next: Phase
    sentence: str
    """For the history: `{target}`, `{source}` and `{epoch}` are those of the entry."""
    commits: bool = False
    """The epoch grows and the target becomes the active region: the point of no return."""


TABLE: tuple[Transition, ...] = (
    Transition(
        Phase.STEADY,
        FailoverEvent.ASKED_TO_SWITCH_OVER,
        Phase.FENCING,
        "{source} is told to stop, so that {target} can overtake it",
    ),
    Transition(
        Phase.STEADY,
        FailoverEvent.ASKED_TO_FAIL_OVER,
        Phase.DRAINING,
        "{source} is given up; {target} processes what has landed there",
    ),
    Transition(
        Phase.STEADY,
        FailoverEvent.ASKED_TO_DRILL,
        Phase.DRAINING,
        "{target} practises: it processes what has landed, and consumers stay with {source}",
    ),
    Transition(
        Phase.FENCING,
        FailoverEvent.FENCED,
        Phase.DRAINING,
        "{source} has stopped; {target} processes everything that was shipped",
    ),
    Transition(
        Phase.DRAINING,
        FailoverEvent.DRAINED,
        Phase.PROVING,
        "{target} has processed everything; it is compared with {source}",
    ),
    Transition(
        Phase.DRAINING,
        FailoverEvent.DRAINED_UNPLANNED,
        Phase.PROMOTING,
        "{target} has processed everything that landed, and is active in epoch {epoch}",
        commits=True,
    ),
    Transition(
        Phase.DRAINING,
        FailoverEvent.DRAINED_IN_DRILL,
        Phase.PROVING,
        "{target} has processed everything; it is compared with {source}",
    ),
    Transition(
        Phase.PROVING,
        FailoverEvent.PROVEN,
        Phase.PROMOTING,
        "{target} equals {source}, and is active in epoch {epoch}",
        commits=True,
    ),
    Transition(
        Phase.PROVING,
        FailoverEvent.PROVEN_IN_DRILL,
        Phase.STEADY,
        "the drill of {target} is over, its report is filed",
    ),
    Transition(
        Phase.PROMOTING,
        FailoverEvent.PROMOTED,
        Phase.REPOINTING,
        "{target} runs all the time; consumers are sent to it",
    ),
    Transition(
        Phase.REPOINTING,
        FailoverEvent.REPOINTED,
        Phase.DEMOTING,
        "consumers read {target}; {source} becomes a standby",
    ),
    Transition(
        Phase.DEMOTING,
        FailoverEvent.DEMOTED,
        Phase.STEADY,
        "{target} is active in epoch {epoch}",
    ),
    Transition(
        Phase.RESTORING,
        FailoverEvent.RESTORED,
        Phase.STEADY,
        "it was cancelled: {source} is active as before",
    ),
    *(
        Transition(
            phase,
            FailoverEvent.CANCELLED,
            Phase.RESTORING,
            "it is cancelled: {source} goes on as before",
        )
        for phase in (Phase.FENCING, Phase.DRAINING, Phase.PROVING)
    ),
    *(
        Transition(
            phase,
            FailoverEvent.ASKED_TO_FAIL_OVER,
            Phase.DRAINING,
            "{source} was lost meanwhile and is given up; {target} processes what has landed there",
        )
        for phase in (Phase.FENCING, Phase.DRAINING, Phase.PROVING, Phase.RESTORING)
    ),
)


def transition(phase: Phase, event: FailoverEvent) -> Transition:
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
        event = completion_event(phase, operation)


def beginning_event(operation: Operation) -> FailoverEvent:
    """The event that begins an operation."""
    return _ASKED[operation]


def completion_event(phase: Phase, operation: Operation) -> FailoverEvent:
    """The event that says that a phase's action is done."""
    if phase is Phase.DRAINING:
        return {
            Operation.FAILOVER: FailoverEvent.DRAINED_UNPLANNED,
            Operation.DRILL: FailoverEvent.DRAINED_IN_DRILL,
        }.get(operation, FailoverEvent.DRAINED)
    if phase is Phase.PROVING and operation is Operation.DRILL:
        return FailoverEvent.PROVEN_IN_DRILL
    return _DONE[phase]


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> steady"]
    lines += [f"    {row.phase} --> {row.next}: {row.event}" for row in TABLE]
    return "\n".join(lines)


_ASKED = {
    Operation.SWITCHOVER: FailoverEvent.ASKED_TO_SWITCH_OVER,
    Operation.FAILBACK: FailoverEvent.ASKED_TO_SWITCH_OVER,
    Operation.FAILOVER: FailoverEvent.ASKED_TO_FAIL_OVER,
    Operation.DRILL: FailoverEvent.ASKED_TO_DRILL,
}
_DONE = {
    Phase.FENCING: FailoverEvent.FENCED,
    Phase.PROVING: FailoverEvent.PROVEN,
    Phase.PROMOTING: FailoverEvent.PROMOTED,
    Phase.REPOINTING: FailoverEvent.REPOINTED,
    Phase.DEMOTING: FailoverEvent.DEMOTED,
    Phase.RESTORING: FailoverEvent.RESTORED,
}
