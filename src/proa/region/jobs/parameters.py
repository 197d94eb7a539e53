"""What `{{...}}` in a task's parameters stands for, and conditions over it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any

from proa.http.api_errors import InvalidParameterError
from proa.region.jobs.runs import Run, values_of
from proa.times import moment

MOST_INPUTS = 5000
"""How many iterations a for_each_task can have."""

_REFERENCE = re.compile(r"\{\{\s*([A-Za-z0-9_.\-]+)\s*\}\}")


def of_run(run: Run) -> dict[str, str]:
    """The job's parameters: their defaults, and what the run was given instead."""
    values = {
        str(item["name"]): str(item.get("default", ""))
        for item in run.settings.get("parameters") or ()
        if "name" in item
    }
    given = run.parameters.get("job_parameters") or {}
    return {**values, **{str(key): str(value) for key, value in given.items()}}


def references(run: Run, attempt: Run, latest: Mapping[str, Run]) -> dict[str, str]:
    """Every reference that the attempt's parameters may use, and its value."""
    started = moment(run.started_at or run.created_at).astimezone(UTC)
    values = {
        "job.id": str(run.job_id),
        "job.name": run.name,
        "job.run_id": str(run.parameters.get("job_run_id") or run.run_id),
        "job.repair_count": str(len(run.repairs)),
        "job.start_time.iso_date": started.date().isoformat(),
        "job.start_time.iso_datetime": started.replace(tzinfo=None).isoformat(timespec="seconds"),
        "job.start_time.timestamp_ms": str(run.started_at or run.created_at),
        "job.trigger.type": run.trigger.lower(),
        "task.name": str(attempt.task_key),
        "task.run_id": str(attempt.run_id),
        "task.execution_count": str(attempt.attempt + 1),
        # The spellings before 2.1, still met in old jobs.
        "job_id": str(run.job_id),
        "run_id": str(run.run_id),
        "start_date": started.date().isoformat(),
        "start_time": str(run.started_at or run.created_at),
    }
    for key, value in of_run(run).items():
        values[f"job.parameters.{key}"] = value
    for key, other in latest.items():
        if other.result is not None:
            values[f"tasks.{key}.result_state"] = other.result.lower()
        if other.output is not None and "result" in other.output:
            values[f"tasks.{key}.output"] = str(other.output["result"])
        for name, value in values_of(other).items():
            values[f"tasks.{key}.values.{name}"] = _text(value)
    trigger = run.settings.get("trigger") or {}
    if trigger.get("file_arrival"):
        values["job.trigger.file_arrival.location"] = str(trigger["file_arrival"].get("url"))
    if "for_each_input" in attempt.settings:
        item = attempt.settings["for_each_input"]
        values["input"] = _text(item)
        if isinstance(item, Mapping):
            values |= {f"input.{key}": _text(part) for key, part in item.items()}
    return values


def inputs_of(text: Any) -> list[Any]:
    """The inputs of a for_each_task. Raises InvalidParameterError unless they are a JSON array."""
    try:
        inputs = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        inputs = None
    if not isinstance(inputs, list):
        raise InvalidParameterError(
            f"the inputs of a for_each_task are an array as JSON, not {str(text)[:80]!r}"
        )
    if len(inputs) > MOST_INPUTS:
        raise InvalidParameterError(
            f"a for_each_task has {MOST_INPUTS} inputs at most, not {len(inputs)}"
        )
    return inputs


def fill_references(value: Any, values: Mapping[str, str], *, later: bool = False) -> Any:
    """`value` with all references replaced, at any depth.

    With `later`, references to the input of an iteration stay. Raises InvalidParameterError for a
    reference that nobody knows.
    """
    if isinstance(value, Mapping):
        return {key: fill_references(item, values, later=later) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_references(item, values, later=later) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if later and match.group(1).partition(".")[0] == "input":
            return match.group()
        if match.group(1) not in values:
            raise InvalidParameterError(
                f"nothing is known under {match.group()!r}; known are {', '.join(sorted(values))}"
            )
        return values[match.group(1)]

    return _REFERENCE.sub(replace, value)


def holds(condition: Mapping[str, Any]) -> bool:
    """Whether a condition task's comparison is true; numbers are compared as numbers."""
    left, right = str(condition.get("left", "")), str(condition.get("right", ""))
    operator = condition["op"]
    if operator in {"EQUAL_TO", "NOT_EQUAL"}:
        return (left == right) is (operator == "EQUAL_TO")
    try:
        low, high = float(left), float(right)
    except ValueError:
        raise InvalidParameterError(
            f"{operator} compares numbers; {left!r} and {right!r} are not both numbers"
        ) from None
    return {
        "GREATER_THAN": low > high,
        "GREATER_THAN_OR_EQUAL": low >= high,
        "LESS_THAN": low < high,
        "LESS_THAN_OR_EQUAL": low <= high,
    }[str(operator)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
