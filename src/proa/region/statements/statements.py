"""SQL statements: asked, answered by the warehouse's process, kept for a while."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from proa.clock import Clock, Ids
from proa.errors import ProaError
from proa.http.api_errors import InvalidParameterError, MissingError
from proa.region.statements.guard import guard_statement
from proa.region.workers.port import Report, Work, Workers, WorkHandle
from proa.region.workers.scratch import Scratch

KEPT_S = 3600.0
"""How long the answer to a statement can be fetched."""

IDLE_S = 600.0
"""How long the warehouse's process lives with nothing to do."""

MAX_KEPT = 1000
MAX_ROWS = 100_000
MAX_EXTERNAL_ROWS = 100_000_000
_WORK_ID = "warehouse"


class StatementState(StrEnum):
    """Where a statement is."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    @property
    def over(self) -> bool:
        return self not in {StatementState.PENDING, StatementState.RUNNING}


@dataclass
class Statement:
    """One statement and, once it is over, its answer."""

    statement_id: str
    asked_at: float
    state: StatementState = StatementState.RUNNING
    process: int | None = None
    """The number of the warehouse's process that is to answer."""
    error: str | None = None
    condition: str | None = None
    columns: Sequence[Mapping[str, Any]] = ()
    chunks: Sequence[Sequence[Sequence[str | None]]] = ()
    files: Sequence[Mapping[str, Any]] = ()
    """`{"name", "rows", "bytes"}` of each chunk that lies in `folder`."""
    folder: Path | None = None
    """Where the result is written as files; None for one that is answered in line."""
    format: str = "JSON_ARRAY"
    truncated: bool = False
    done: Future[None] = field(default_factory=Future)

    @property
    def chunk_rows(self) -> list[int]:
        """How many rows each chunk has."""
        if self.folder is not None:
            return [int(file["rows"]) for file in self.files]
        return [len(chunk) for chunk in self.chunks]


class Statements:
    """The statements of one region."""

    def __init__(
        self,
        clock: Clock,
        ids: Ids,
        workers: Workers,
        session: Callable[[], Mapping[str, Any]],
        tables: Callable[[], Sequence[Mapping[str, Any]]],
    ) -> None:
        self._clock = clock
        self._ids = ids
        self._workers = workers
        self._session = session
        self._tables = tables
        self._known: dict[str, Statement] = {}
        self._handle: WorkHandle | None = None
        self._process = 0
        """Counts the warehouse's processes: one that was stopped may end after the next began."""
        self._last_used = clock.monotonic()
        self._lock = threading.Lock()
        self._scratch: Scratch | None = None
        self.secret = f"{ids.new()}{ids.new()}".encode()
        """Signs the links to results; of this server only, as the results are."""

    def execute(  # noqa: PLR0913 - the API's own parameters
        self,
        text: str,
        *,
        schema: str | None = None,
        parameters: Sequence[Mapping[str, Any]] = (),
        row_limit: int | None = None,
        byte_limit: int | None = None,
        format: str = "JSON_ARRAY",  # noqa: A002 - the API's own word
        external: bool = False,
        tables: Sequence[Mapping[str, Any]] | None = None,
    ) -> Statement:
        """Begin a statement; with `external` its result is written as files.

        It reads no other tables than `tables`, without them all there are.
        One that cannot be run is FAILED, not raised, as on Databricks.
        """
        now = self._clock.monotonic()
        statement = Statement(self._ids.new(), now, format=format)
        if external:
            statement.folder = self._new_folder()
        with self._lock:
            self._forget(now)
            self._known[statement.statement_id] = statement
            self._last_used = now
        try:
            tables = self._tables() if tables is None else tables
            ready = guard_statement(text, parameters, tables)
        except InvalidParameterError as error:
            self._fail(statement, "BAD_REQUEST", str(error))
            return statement
        except ProaError as error:  # the storage of a pipeline does not answer
            self._fail(statement, "INTERNAL_ERROR", str(error))
            return statement
        try:
            handle = self._handle_for(statement)
        except OSError as error:
            why = f"no process could be started for the warehouse: {error}; ask again later"
            self._fail(statement, "INTERNAL_ERROR", why)
            return statement
        most = MAX_EXTERNAL_ROWS if external else MAX_ROWS
        handle.send(
            type="statement",
            id=statement.statement_id,
            sql=ready.sql,
            shape=ready.shape.value,
            tables=tables,
            schema=schema,
            row_limit=min(row_limit or most, most),
            byte_limit=byte_limit,
            format=format,
            folder=None if statement.folder is None else str(statement.folder),
        )
        return statement

    def get(self, statement_id: str) -> Statement:
        """The statement. MissingError when there is none, or it is too long ago."""
        with self._lock:
            found = self._known.get(statement_id)
        if found is None:
            raise MissingError(f"The statement {statement_id} was not found.")
        return found

    def cancel(self, statement_id: str) -> None:
        """Forget about the answer; no error when it is there already."""
        statement = self.get(statement_id)
        with self._lock:
            if not statement.state.over:
                statement.state = StatementState.CANCELED
                statement.done.set_result(None)

    def turn(self) -> None:
        """End the warehouse's process when nobody has asked for long."""
        now = self._clock.monotonic()
        with self._lock:
            busy = any(not item.state.over for item in self._known.values())
            if self._handle is not None and not busy and now - self._last_used > IDLE_S:
                self._handle.stop()
                self._handle = None
            self._forget(now)

    def next_due(self) -> int | None:
        """Nothing here is due at a moment."""
        return None

    def close(self) -> None:
        """Fail what is running: nobody will answer."""
        with self._lock:
            running = [item for item in self._known.values() if not item.state.over]
        for statement in running:
            self._fail(statement, "ABORTED", "the region's server is stopping; ask again later")
        with self._lock:
            if self._scratch is not None:
                self._scratch.close()
                self._scratch = None

    def _handle_for(self, statement: Statement) -> WorkHandle:
        """The warehouse's process that is to answer, begun when there is none."""
        with self._lock:
            if self._handle is None:
                self._process += 1
                work = Work(_WORK_ID, "warehouse", self._session())
                report = partial(self._report, self._process)
                self._handle = self._workers.start(work, report)
            statement.process = self._process
            return self._handle

    def _report(self, process: int, report: Report) -> None:
        if report.kind == "answer":
            self._write_answer(report.data)
        elif report.kind == "end":
            with self._lock:
                if process == self._process:
                    self._handle = None
                running = [
                    item
                    for item in self._known.values()
                    if item.process == process and not item.state.over
                ]
            why = str(report.data.get("error") or "the warehouse's process ended")
            for statement in running:
                self._fail(statement, "INTERNAL_ERROR", why)

    def _write_answer(self, data: Mapping[str, Any]) -> None:
        statement = self._known.get(str(data["id"]))
        if statement is None:
            return
        if data.get("error") is not None:
            self._fail(statement, str(data.get("condition")), str(data["error"]))
            return
        with self._lock:
            if statement.state.over:
                return
            statement.columns = data["columns"]
            statement.chunks = data.get("chunks") or ()
            statement.files = data.get("files") or ()
            statement.truncated = bool(data["truncated"])
            statement.state = StatementState.SUCCEEDED
        statement.done.set_result(None)

    def _fail(self, statement: Statement, condition: str, why: str) -> None:
        with self._lock:
            if statement.state.over:
                return
            statement.condition, statement.error = condition, why
            statement.state = StatementState.FAILED
        statement.done.set_result(None)

    def _forget(self, now: float) -> None:
        over = [item for item in self._known.values() if item.state.over]
        surplus = len(self._known) - MAX_KEPT
        for index, item in enumerate(over):
            if now - item.asked_at > KEPT_S or index < surplus:
                del self._known[item.statement_id]
                if item.folder is not None:
                    shutil.rmtree(item.folder, ignore_errors=True)

    def _new_folder(self) -> Path:
        """A folder for the files of one result; gone with the server, however it ends."""
        with self._lock:
            if self._scratch is None:
                self._scratch = Scratch()
            return Path(self._scratch.new())
