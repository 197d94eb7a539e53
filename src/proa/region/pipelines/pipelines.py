"""Pipelines: what was asked for, echoed exactly, and what state they are in."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from proa.clock import Clock, Ids
from proa.http.api_errors import InvalidParameterError, MissingError, TakenError
from proa.http.paging import make_page_token, read_page_token, split_page
from proa.region.pipelines.event_filter import parse
from proa.region.pipelines.pipeline_events import Events
from proa.region.state import Database
from proa.region.state.state_tables import pipelines
from proa.region.workspace.workspace import canonical
from proa.times import millis

_NOT_EXECUTED = frozenset(
    {"name", "continuous", "notifications", "tags", "budget_policy_id", "permissions", "id"}
)
_CHANNELS = {"CURRENT", "PREVIEW"}
_EDITIONS = {"CORE", "PRO", "ADVANCED"}
_KINDS_OF_LIBRARY = {"notebook": "path", "file": "path", "glob": "include"}
_MAX_PAGE = 100
DEFAULT_PAGE = 25


class PipelineState(StrEnum):
    """What a pipeline is doing."""

    IDLE = "IDLE"
    STARTING = "STARTING"
    RESETTING = "RESETTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    RECOVERING = "RECOVERING"
    FAILED = "FAILED"


@dataclass(frozen=True)
class StoredPipeline:
    """One pipeline."""

    number: int
    pipeline_id: str
    name: str
    spec: Mapping[str, Any]
    """As it was sent."""
    creator: str
    created_at: int
    modified_at: int
    revision: int
    """Counts the changes that make a running update stale."""
    wanted: bool
    """Whether, being continuous, it is to be kept running."""
    failures: int
    """Failed updates in a row, of a continuous pipeline."""
    retry_at: int | None
    """When a failed continuous pipeline is tried again; None: not by itself."""

    @property
    def continuous(self) -> bool:
        return bool(self.spec.get("continuous"))

    @property
    def key(self) -> tuple[str, str]:
        """(id, name), as events want it."""
        return self.pipeline_id, self.name


class Pipelines:
    """The pipelines of one region."""

    def __init__(self, database: Database, clock: Clock, ids: Ids, events: Events) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._events = events

    def create(self, spec: dict[str, Any], user: str, *, duplicates: bool = False) -> str:
        """Keep a new pipeline and return its id.

        TakenError when another one has its name, unless `duplicates`.
        """
        check_spec(spec)
        name = str(spec.get("name") or "Untitled")
        pipeline_id = self._ids.new()
        now = millis(self._clock.now())
        with self._database.write() as connection:
            if not duplicates:
                self._need_free(connection, name, pipeline_id)
            connection.execute(
                insert(pipelines).values(
                    pipeline_id=pipeline_id,
                    name=name,
                    spec=spec,
                    creator=user,
                    created_at=now,
                    modified_at=now,
                    revision=1,
                    wanted=bool(spec.get("continuous")),
                    failures=0,
                )
            )
            self._events.add(
                connection,
                (pipeline_id, name),
                None,
                "user_action",
                f"User {user} created the pipeline.",
                details=_action("CREATE", user),
            )
        return pipeline_id

    def get(self, pipeline_id: str) -> StoredPipeline:
        """The pipeline. MissingError when there is none."""
        with self._database.read() as connection:
            row = connection.execute(
                select(pipelines).where(pipelines.c.pipeline_id == pipeline_id)
            ).first()
        if row is None:
            raise MissingError(f"The specified pipeline {pipeline_id} was not found.")
        return pipeline_from_row(row)

    def every(self) -> list[StoredPipeline]:
        """All pipelines, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(pipelines).order_by(pipelines.c.number))
            return [pipeline_from_row(row) for row in rows]

    def list(
        self,
        *,
        text: str | None = None,
        order: Sequence[str] = (),
        size: int = DEFAULT_PAGE,
        page_token: str | None = None,
    ) -> tuple[list[StoredPipeline], str | None]:
        """(pipelines, token of the next page) that the filter `text` lets through."""
        at = read_page_token(page_token, "o", "f")
        if at is not None:
            text = str(at["f"])
        offset = max(0, int(at["o"])) if at else 0
        size = max(1, min(size, _MAX_PAGE))
        conditions = parse(text, {"name", "notebook", "id"})
        query = select(pipelines).order_by(*_order(order))
        if not conditions:
            query, offset_in_rows = query.offset(offset).limit(size + 1), 0
        else:
            offset_in_rows = offset
        with self._database.read() as connection:
            found = [pipeline_from_row(row) for row in connection.execute(query)]
        for condition in conditions:
            wanted = condition.values[0]
            if condition.field == "name" and condition.operator == "like":
                found = [item for item in found if _like(item.name, wanted)]
            elif condition.operator != "=":
                raise InvalidParameterError(
                    "pipelines are filtered by notebook='<path>', name='<name>'"
                    " or name LIKE '<pattern>'"
                )
            elif condition.field == "name":
                found = [item for item in found if item.name == wanted]
            elif condition.field == "id":
                found = [item for item in found if item.pipeline_id == wanted]
            else:
                found = [item for item in found if _reads(item, canonical(wanted))]
        shown, more = split_page(found[offset_in_rows : offset_in_rows + size + 1], size)
        return shown, make_page_token(o=offset + size, f=text or "") if more else None

    def change(
        self,
        pipeline_id: str,
        spec: dict[str, Any],
        user: str,
        *,
        expected: int | None = None,
        duplicates: bool = False,
    ) -> None:
        """Replace the pipeline's spec. TakenError when it changed after `expected`.

        A pipeline that is, or becomes, continuous is wanted running from here on; a running
        update whose spec became stale is stopped and started anew by the control loop.
        """
        check_spec(spec)
        before = self.get(pipeline_id)
        if expected is not None and expected != before.modified_at:
            raise TakenError(
                f"the pipeline changed at {before.modified_at}, after {expected}:"
                " read it again before you change it"
            )
        if "storage" in spec and spec["storage"] != storage_of(before):
            raise InvalidParameterError(
                f"the storage of a pipeline cannot change from {storage_of(before)!r};"
                " create another pipeline"
            )
        if "storage" in before.spec and "storage" not in spec and "catalog" not in spec:
            spec = {**spec, "storage": before.spec["storage"]}
        name = str(spec.get("name") or before.name)
        stale = _executed_fields(spec) != _executed_fields(before.spec)
        now = max(millis(self._clock.now()), before.modified_at + 1)
        with self._database.write() as connection:
            if name != before.name and not duplicates:
                self._need_free(connection, name, pipeline_id)
            changed = connection.execute(
                update(pipelines)
                .where(
                    pipelines.c.pipeline_id == pipeline_id,
                    pipelines.c.modified_at == before.modified_at,
                )
                .values(
                    name=name,
                    spec=spec,
                    modified_at=now,
                    revision=before.revision + int(stale),
                    wanted=bool(spec.get("continuous")),
                    failures=0,
                    retry_at=None,
                )
            )
            if not changed.rowcount:
                raise TakenError(
                    f"pipeline {pipeline_id} was changed by somebody else; read it again"
                )
            self._events.add(
                connection,
                (pipeline_id, name),
                None,
                "user_action",
                f"User {user} edited the pipeline.",
                details=_action("EDIT", user),
            )

    def want(self, pipeline_id: str, *, running: bool) -> None:
        """Say whether a continuous pipeline is to be kept running."""
        with self._database.write() as connection:
            connection.execute(
                update(pipelines)
                .where(pipelines.c.pipeline_id == pipeline_id)
                .values(wanted=running, failures=0, retry_at=None)
            )

    def delete(self, pipeline_id: str) -> None:
        """Forget the pipeline, its updates and events. Its tables stay in their storage."""
        with self._database.write() as connection:
            gone = connection.execute(
                delete(pipelines).where(pipelines.c.pipeline_id == pipeline_id)
            )
        if not gone.rowcount:
            raise MissingError(f"The specified pipeline {pipeline_id} was not found.")

    @staticmethod
    def _need_free(connection: Any, name: str, pipeline_id: str) -> None:
        taken = connection.scalar(
            select(pipelines.c.pipeline_id).where(
                pipelines.c.name == name, pipelines.c.pipeline_id != pipeline_id
            )
        )
        if taken is not None:
            raise TakenError(
                f"The pipeline name '{name}' is already used by another pipeline ({taken})."
                " This check can be skipped by setting `allow_duplicate_names = true`"
                " in the request."
            )


def pipeline_from_row(row: Row[Any]) -> StoredPipeline:
    """A row of the table as a StoredPipeline."""
    return StoredPipeline(
        **{name: getattr(row, name) for name in StoredPipeline.__dataclass_fields__}
    )


def check_spec(spec: Mapping[str, Any]) -> None:
    """Raise InvalidParameterError for a spec that no region could run."""
    if spec.get("storage") and spec.get("catalog"):
        raise InvalidParameterError("a pipeline has either 'storage' or 'catalog', not both")
    if spec.get("target") and spec.get("schema"):
        raise InvalidParameterError("a pipeline has either 'target' or 'schema', not both")
    for key, known in (("channel", _CHANNELS), ("edition", _EDITIONS)):
        if key in spec and str(spec[key]).upper() not in known:
            raise InvalidParameterError(
                f"{key} {spec[key]!r} is not known; use one of {', '.join(sorted(known))}"
            )
    for library in spec.get("libraries") or ():
        kinds = [kind for kind in _KINDS_OF_LIBRARY if library.get(kind)]
        if len(kinds) != 1:
            raise InvalidParameterError(
                "a library of a pipeline is one of {'notebook': {'path'}}, {'file': {'path'}}"
                f" and {{'glob': {{'include'}}}}; got {sorted(library)}"
            )
        path = library[kinds[0]].get(_KINDS_OF_LIBRARY[kinds[0]])
        if not isinstance(path, str):
            raise InvalidParameterError(
                f"the library {kinds[0]!r} needs {_KINDS_OF_LIBRARY[kinds[0]]!r}, a path"
            )
        canonical(path)


def storage_of(pipeline: StoredPipeline) -> str:
    """Where the pipeline keeps its tables; Databricks' default when it does not say."""
    return str(pipeline.spec.get("storage") or f"dbfs:/pipelines/{pipeline.pipeline_id}")


def shown_spec(pipeline: StoredPipeline) -> dict[str, Any]:
    """The spec as the API echoes it: what was sent, with id and storage."""
    spec = {"id": pipeline.pipeline_id, **pipeline.spec}
    if "storage" not in spec and "catalog" not in spec:
        spec["storage"] = storage_of(pipeline)
    return spec


def _executed_fields(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key not in _NOT_EXECUTED}


def _action(action: str, user: str) -> dict[str, Any]:
    return {"action": action, "user_name": user}


def _order(order: Sequence[str]) -> list[Any]:
    columns = {"name": pipelines.c.name, "id": pipelines.c.pipeline_id}
    found: list[Any] = []
    for item in order:
        name, _, direction = item.strip().lower().partition(" ")
        if name not in columns or direction.strip() not in {"", "asc", "desc"}:
            raise InvalidParameterError(
                f"pipelines cannot be ordered by {item!r}; use 'name asc' or 'id desc'"
            )
        column = columns[name]
        found.append(column.desc() if direction.strip() == "desc" else column.asc())
    return [*found, pipelines.c.number]


def _like(name: str, pattern: str) -> bool:
    parts = (".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), name, re.DOTALL | re.IGNORECASE) is not None


def _reads(pipeline: StoredPipeline, path: str) -> bool:
    paths = (
        str(library["notebook"].get("path", ""))
        for library in pipeline.spec.get("libraries") or ()
        if library.get("notebook")
    )
    return any(posixpath.normpath(item.removeprefix("/Workspace")) == path for item in paths)
