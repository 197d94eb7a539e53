"""The tasks of a job: which kinds a region runs, and what each must say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proa.http.api_errors import InvalidParameterError

_NEEDS = {
    "pipeline_task": ("pipeline_id",),
    "notebook_task": ("notebook_path",),
    "run_job_task": ("job_id",),
    "condition_task": ("op",),
    "sql_task": ("file",),
    "spark_python_task": ("python_file",),
    "python_wheel_task": ("package_name", "entry_point"),
    "for_each_task": ("inputs", "task"),
}
"""What each kind of task must say."""

TASK_TYPES = tuple(_NEEDS)
"""The kinds of task that a region runs."""

RUN_IF = (
    "ALL_SUCCESS",
    "ALL_DONE",
    "NONE_FAILED",
    "AT_LEAST_ONE_SUCCESS",
    "ALL_FAILED",
    "AT_LEAST_ONE_FAILED",
)
OPERATORS = (
    "EQUAL_TO",
    "NOT_EQUAL",
    "GREATER_THAN",
    "GREATER_THAN_OR_EQUAL",
    "LESS_THAN",
    "LESS_THAN_OR_EQUAL",
)
MOST_AT_ONCE = 100
"""How many iterations of a for_each_task can run at once."""

_ONE_TASK = "main"
_MAX_TASKS = 1000
_MAX_KEY = 100
_OF_ONE_TASK = (*TASK_TYPES, "max_retries", "min_retry_interval_millis", "retry_on_timeout")


def tasks_of(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The job's tasks; a job in the single-task form has one, called `main`."""
    if "tasks" in settings:
        return [dict(task) for task in settings["tasks"]]
    if not any(kind in settings for kind in TASK_TYPES):
        return []
    task = {key: settings[key] for key in _OF_ONE_TASK if key in settings}
    return [{"task_key": _ONE_TASK, **task}]


def type_of(task: Mapping[str, Any]) -> str:
    """Which of TASK_TYPES the task is. Raises InvalidParameterError if none, or several."""
    kinds = [kind for kind in TASK_TYPES if task.get(kind) is not None]
    others = [key for key in task if key.endswith("_task") and key not in TASK_TYPES]
    key = task.get("task_key")
    if others:
        raise InvalidParameterError(
            f"task {key!r} is a {others[0]}; a region runs {', '.join(TASK_TYPES)}"
        )
    if len(kinds) != 1:
        raise InvalidParameterError(
            f"task {key!r} must have exactly one of {', '.join(TASK_TYPES)}; it has"
            f" {', '.join(kinds) or 'none'}"
        )
    return kinds[0]


def check_tasks(tasks: Sequence[Mapping[str, Any]]) -> None:
    """Raise InvalidParameterError for tasks that no region could run."""
    if len(tasks) > _MAX_TASKS:
        raise InvalidParameterError(f"a job has {_MAX_TASKS} tasks at most, not {len(tasks)}")
    keys = [str(task.get("task_key") or "") for task in tasks]
    if "" in keys or len(set(keys)) != len(keys):
        raise InvalidParameterError("every task of a job needs a task_key of its own")
    if any(len(key) > _MAX_KEY for key in keys):
        raise InvalidParameterError(f"a task_key has {_MAX_KEY} characters at most")
    for task in tasks:
        _check_task(task, set(keys))
    _check_acyclic(tasks)


def _check_task(task: Mapping[str, Any], keys: set[str]) -> None:
    key = task["task_key"]
    kind = type_of(task)
    for needed in task.get("depends_on") or ():
        if needed.get("task_key") not in keys:
            raise InvalidParameterError(
                f"task {key!r} depends on {needed.get('task_key')!r}, which the job does not have"
            )
    if task.get("run_if", "ALL_SUCCESS") not in RUN_IF:
        raise InvalidParameterError(f"run_if of task {key!r} must be one of {', '.join(RUN_IF)}")
    body = task[kind]
    for name in _NEEDS[kind]:
        if not isinstance(body, Mapping) or body.get(name) in (None, ""):
            raise InvalidParameterError(f"{kind} of task {key!r} needs {name!r}")
    _CHECKS.get(kind, _accept)(str(key), body)


def _accept(_key: str, _body: Mapping[str, Any]) -> None:
    """Nothing more is to be said of most kinds."""


def _check_condition(key: str, body: Mapping[str, Any]) -> None:
    if body["op"] not in OPERATORS:
        raise InvalidParameterError(
            f"op of task {key!r} must be one of {', '.join(OPERATORS)}; it is {body['op']!r}"
        )


def _check_file(key: str, body: Mapping[str, Any]) -> None:
    file = body["file"] if "file" in body else {"path": body["python_file"], **body}
    if not isinstance(file, Mapping) or not isinstance(file.get("path"), str):
        raise InvalidParameterError(f"the file of task {key!r} needs a 'path'")
    if file.get("source") == "GIT":
        raise InvalidParameterError(
            f"the file of task {key!r} is in Git; import it into the workspace"
        )


def _check_for_each(key: str, body: Mapping[str, Any]) -> None:
    inner = body["task"]
    if not isinstance(inner, Mapping):
        raise InvalidParameterError(f"'task' of the for_each_task {key!r} must be a task")
    if type_of(inner) == "for_each_task":
        raise InvalidParameterError(f"the for_each_task {key!r} cannot hold another one")
    _check_task({**inner, "task_key": inner.get("task_key") or key, "depends_on": []}, set())
    at_once = body.get("concurrency")
    if at_once is not None and (
        not isinstance(at_once, int)
        or isinstance(at_once, bool)
        or not 1 <= at_once <= MOST_AT_ONCE
    ):
        raise InvalidParameterError(
            f"concurrency of the for_each_task {key!r} is a number from 1 to {MOST_AT_ONCE},"
            f" not {at_once!r}"
        )


def _check_acyclic(tasks: Sequence[Mapping[str, Any]]) -> None:
    waiting = {task["task_key"]: set(_upstream(task)) for task in tasks}
    while waiting:
        ready = [key for key, needed in waiting.items() if not needed & waiting.keys()]
        if not ready:
            raise InvalidParameterError(
                f"the tasks {', '.join(sorted(waiting))} wait for one another in a circle"
            )
        for key in ready:
            del waiting[key]


def _upstream(task: Mapping[str, Any]) -> Iterator[str]:
    return (str(needed["task_key"]) for needed in task.get("depends_on") or ())


_CHECKS = {
    "condition_task": _check_condition,
    "sql_task": _check_file,
    "spark_python_task": _check_file,
    "for_each_task": _check_for_each,
}
