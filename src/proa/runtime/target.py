"""Where the batches of a flow go: a port, and Delta tables as what stands behind it.

A target remembers by itself which batches it has, and a batch is in it whole or not at all. So a
flow may be interrupted anywhere: it asks for the position and goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from proa.errors import ConflictError, DataError
from proa.lake import (
    Change,
    Destination,
    Flag,
    Rewriter,
    Table,
    commit_change,
    create_table,
    discard_attempt,
)
from proa.lake.commit import describe_table
from proa.lake.table_schema import WIDENING, fitting_schema, merge_schemas, storable, to_arrow
from proa.layout import app_id, cut_app
from proa.pipelines.ddl import declared_schema
from proa.pipelines.definitions import Dataset
from proa.runtime.checkpoint import Plan, cut_of, cut_transaction
from proa.runtime.context import Context
from proa.runtime.flow_kinds import Stored


@dataclass(frozen=True)
class Position:
    """Where a flow stands in its target."""

    generation: int
    """How many full refreshes were asked for."""
    batch: int | None
    """The last batch of that generation that the target has; None for none."""
    cut: int = 0
    """How often that batch was cut."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a batch: the shape of its rows and where they go."""

    columns: Any
    """The columns of the target with the batch in it, as a StructType."""
    destination: Destination


@dataclass(frozen=True)
class TargetDelivery:
    """What is to become part of a target: a batch whose rows were written."""

    flow: str
    generation: int
    plan: Plan
    attempt: Attempt
    stored: Stored
    widens: bool = False
    """Columns of the target may take wider types."""


class Target(Protocol):
    """Where the batches of a flow go. All may be asked again after any error."""

    @property
    def table(self) -> Table | None:
        """The Delta table that the batches go to, if it is one."""

    def refusal(self) -> str | None:
        """Why nothing may be written now; None when it may. Raises UnavailableError."""

    def set_up(self) -> None:
        """Make what can be made before the first batch."""

    def check(self, stored: Stored) -> None:
        """DataError when a file that was written is gone before its commit."""

    def position(self, flow: str) -> Position:
        """Where the flow stands, looked up anew. Raises UnavailableError."""

    def begin(self, query: Any, flags: Sequence[Flag], *, replaces: bool, widens: bool) -> Attempt:
        """Begin an attempt to store rows that have the columns `query`, a StructType.

        `replaces`: they take the place of all rows; `widens`: columns may take wider types. Nothing
        changes yet. DataError when the target can never hold such columns.
        """

    def commit(self, delivery: TargetDelivery) -> bool:
        """Make a batch part of the target, exactly once; whether it was this attempt that did.

        Raises ConflictError with the condition STALE_FILES when the rows must be written once
        more, and with another one when the flow must look again where it stands; UnavailableError
        when it is not known whether the batch is in the target.
        """

    def abort(self, attempt: Attempt, stored: Stored) -> None:
        """Forget an attempt that no commit was tried with, or whose commit another was before."""


class TableTarget:
    """A Delta table of the pipeline, fed by one or several flows."""

    def __init__(self, name: str, dataset: Dataset, context: Context) -> None:
        self._name = name
        self._dataset = dataset
        self._context = context
        self.table: Table = context.table(name)

    def position(self, flow: str) -> Position:
        table = self.table
        with table.lock:
            table.refresh()
            generation = table.wanted_generation
            app = app_id(flow, generation)
            last = table.transaction(app)
            return Position(generation, last, cut_of(last, table.transaction(cut_app(app))))

    def begin(self, query: Any, flags: Sequence[Flag], *, replaces: bool, widens: bool) -> Attempt:
        columns = self._declared_of(query)
        if not replaces and self._keeps_rows(columns):
            widens = widens or self._widens
            columns = merge_schemas(self.table.schema, columns, self._name, widen=widens)
        destination = Destination(
            url=self.table.url,
            options=self._context.options,
            schema=to_arrow(columns),
            attempt=self._context.ids.new(),
            partition_by=self._partitions(columns),
            flags=tuple(flags),
        )
        return Attempt(columns, destination)

    def commit(self, delivery: TargetDelivery) -> bool:
        attempt, plan, stored = delivery.attempt, delivery.plan, delivery.stored
        self.ensure_table(attempt)
        app = app_id(delivery.flow, delivery.generation)
        committed = commit_change(
            self.table,
            Change(
                app_id=app,
                batch=plan.batch,
                attempt=attempt.destination.attempt,
                generation=delivery.generation,
                adds=stored.adds,
                removes=stored.removes,
                based_on=stored.based_on,
                replaces=plan.replaces and not stored.is_edit,
                schema=attempt.columns,
                partition_by=attempt.destination.partition_by,
                widens=delivery.widens or self._widens,
                metadata={
                    "flow": delivery.flow,
                    "generation": delivery.generation,
                    "batch": plan.batch,
                    "update": self._context.update_id,
                    "inputs": plan.versions,
                    "definition": plan.definition,
                    "rows": stored.result.rows,
                    **stored.notes,
                },
                transactions={**stored.transactions, **cut_transaction(app, plan)},
                changes=stored.changes,
            ),
            Rewriter(self._context.engine, self._context.ids),
        )
        return committed.by_us

    def abort(self, attempt: Attempt, stored: Stored) -> None:
        discard_attempt(attempt.destination, (*stored.adds, *stored.changes))

    def refusal(self) -> str | None:
        return None

    def check(self, stored: Stored) -> None:
        self.table.check([f"{self.table.url}/{file.path}" for file in stored.adds])

    def ensure_table(self, attempt: Attempt) -> None:
        """Make the table, without rows, when it is not there yet."""
        if not self.table.exists:
            self._create(attempt.columns)

    def set_up(self) -> None:
        """Make the table when its columns are declared and it is not there yet.

        A table that is there gets the comment and the properties that are declared now.
        """
        if self.table.exists:
            # Of two runners that say the same at once, one is enough.
            with suppress(ConflictError):
                describe_table(self.table, self._dataset.comment, self._dataset.properties)
            return
        declared = self._declared
        if declared is not None:
            self._create(declared)

    @property
    def _declared(self) -> Any:
        """The columns that the user has declared, as a StructType; None for the query's own."""
        schema = declared_schema(self._dataset)
        return None if schema is None else storable(schema, self._name)

    @property
    def _widens(self) -> bool:
        return str(self._dataset.properties.get(WIDENING, "false")).lower() == "true"

    def _create(self, columns: Any) -> None:
        create_table(
            self.table,
            columns,
            partition_by=self._partitions(columns),
            comment=self._dataset.comment,
            properties=self._dataset.properties,
            metadata={"update": self._context.update_id},
        )

    def _declared_of(self, query: Any) -> Any:
        """The columns that are declared, which the query's must fit; the query's when none are."""
        declared = self._declared
        return query if declared is None else fitting_schema(declared, query, self._name)

    def _keeps_rows(self, columns: Any) -> bool:
        """Whether there are rows of other columns that stay when a batch is added."""
        table = self.table
        with table.lock:
            return (
                table.exists
                and table.schema != columns
                and table.generation == table.wanted_generation
                and not table.is_empty
            )

    def _partitions(self, columns: Any) -> tuple[str, ...]:
        names = {f.name.lower(): f.name for f in columns.fields}
        missing = [c for c in self._dataset.partition_cols if c.lower() not in names]
        if missing:
            raise DataError(
                f"{self._name!r} is partitioned by {missing[0]!r}, which is not one of its"
                f" columns: {', '.join(names.values())}",
                condition="PARTITION_COLUMN_NOT_FOUND",
            )
        return tuple(names[c.lower()] for c in self._dataset.partition_cols)
