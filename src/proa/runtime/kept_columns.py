"""The columns of queries, as the engine once told them, kept in the storage: most updates ask again.

The columns of a query over nothing depend on its plan, the engine's version and its settings. So an
update with nothing to do need not start an engine to be told the same. Nothing is lost with the object.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

from pyspark.sql.connect import proto
from pyspark.sql.types import StructType
from sqlglot import exp

from proa.engine import Engine
from proa.errors import PipelineError
from proa.graph import plan_proto, sql_text
from proa.layout import COLUMNS
from proa.runtime.declared import software_versions
from proa.steps import Step, step
from proa.storage import NotFoundError, Store

_FORMAT = 1
_PURE = frozenset(
    [
        "aggregate",
        "deduplicate",
        "drop",
        "drop_na",
        "fill_na",
        "filter",
        "hint",
        "join",
        "lateral_join",
        "limit",
        "local_relation",
        "offset",
        "project",
        "range",
        "repartition",
        "repartition_by_expression",
        "replace",
        "sample",
        "set_op",
        "sort",
        "sql",
        "subquery_alias",
        "to_df",
        "to_schema",
        "unpivot",
        "with_columns",
        "with_columns_renamed",
        "with_relations",
        "with_watermark",
    ]
)
"""Relations whose columns their inputs and their own words decide. (A pivot's depend on rows.)"""


class KeptColumns:
    """Tells the columns of plans, asking the engine only for those that it has not told yet."""

    def __init__(self, storage: str, options: Mapping[str, str], engine: Engine) -> None:
        self._storage = storage
        self._options = options
        self._engine = engine
        self._standing: dict[str, Any] | None = None
        """What the object holds: columns as JSON, by plan. None: nobody has looked."""
        self._told: dict[str, Any] = {}
        self._software = json.dumps(software_versions(), sort_keys=True)

    def begin(self) -> None:
        """Another graph is analysed: only its plans are kept."""
        self._told = {}

    def schema(self, relation: Any) -> StructType:
        """What `relation` yields. Raises what the engine raises, which is asked if need be."""
        if not self._engine.answers_by_plan:
            return self._engine.schema(relation)
        # The ids of a plan's nodes count on within a process.
        alike = plan_proto.renumber(relation, itertools.count().__next__)
        plan = alike.SerializeToString(deterministic=True)
        known = f"{self._software} {self._engine.digest()} ".encode()
        key = hashlib.sha256(known + plan).hexdigest()
        found = self._look().get(key)
        if found is None:
            columns = self._engine.schema(relation)
            if _is_pure(relation):
                self._told[key] = columns.jsonValue()
            return columns
        self._told[key] = found
        return StructType.fromJson(found)

    def keep(self) -> None:
        """Write down what this graph's plans yield, unless it stands there already."""
        if self._told and self._told != self._look():
            data = json.dumps({"format": _FORMAT, "columns": self._told}).encode()
            with step(Step.COLUMNS_PUT):
                Store.open(self._storage, self._options).put(COLUMNS, data)
            self._standing = dict(self._told)

    def _look(self) -> dict[str, Any]:
        if self._standing is None:
            try:
                body = json.loads(Store.open(self._storage, self._options).get(COLUMNS))
                self._standing = dict(body["columns"]) if body["format"] == _FORMAT else {}
            except (NotFoundError, ValueError, KeyError, TypeError):
                self._standing = {}
        return self._standing


def _is_pure(relation: Any) -> bool:
    """Whether the plan says all: it reads no table and no file, and has no code of the user's."""
    for part in plan_proto.walk(relation):
        if isinstance(part, proto.CommonInlineUserDefinedFunction):
            return False
        if isinstance(part, proto.Relation) and not (
            plan_proto.kind(part) in _PURE and _has_given_names(part)
        ):
            return False
    return True


def _has_given_names(relation: Any) -> bool:
    """Whether all tables in a relation's SQL, if it has any, are relations that it is given."""
    if plan_proto.kind(relation) != "sql":
        return True
    try:
        read = sql_text.read(relation.sql.query)
    except PipelineError:  # what Proa writes itself is for engines
        return False
    named = all(isinstance(table.this, exp.Identifier) for table in read.tree.find_all(exp.Table))
    return named and all(
        len(table.parts) == 1 and table.parts[0].startswith("__proa_") for table in read.tables
    )
