"""A flow's plan: the user's query with its leaves found, ready to be bound to data.

A leaf is what the query reads: a dataset of the pipeline, or files. A batch is the same plan with
every leaf replaced by a relation that reads exactly that batch's data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from pyspark.sql.connect import proto
from sqlglot import exp

from proa.errors import PipelineError, SourceLocation
from proa.formats.place import WHOLE
from proa.graph import metadata, plan_proto, sql_text, stateful
from proa.graph.leaves import DatasetLeaf, FilesLeaf, Leaf, TableLeaf
from proa.graph.plan_proto import Relation
from proa.graph.query import QueryStep
from proa.graph.query_from_plan import PlanReader
from proa.graph.query_origin import QueryOrigin
from proa.graph.sql_mask import TextEdit
from proa.graph.stateful_plan import CONDITION, StatefulPlan, without_state
from proa.graph.told_format import format_of_files, format_of_source, names_format
from proa.pipelines.identifiers import name_parts
from proa.text import quote_identifier

_LEAF_OPTION = "proa.leaf"
_BY_POSITION = "proa.byPosition"
_FILE_FORMATS = frozenset({"json", "csv", "parquet", "text", "avro", "orc", "binaryfile"})
_NOT_IN_ENGINES = frozenset({"avro", "binaryfile", "orc"})
"""Formats that the embedded engine cannot read by itself, or not as Spark does."""
_STREAM_FUNCTIONS = frozenset({"read_kafka", "read_kinesis", "read_pubsub", "read_pulsar"})
_TIME_TRAVEL = frozenset({"versionasof", "timestampasof"})
_PER_TRIGGER = {
    name.lower(): f"cloudFiles.{name}"
    for name in ("maxFilesPerTrigger", "maxBytesPerTrigger", "maxFileAge")
}


Locate = Callable[[], SourceLocation | None]
"""Tells where something stands; asked only when something is wrong, for it reads sources."""


@dataclass(frozen=True)
class FlowPlan:
    """A query and its leaves."""

    leaves: tuple[Leaf, ...]
    template: Relation
    """The plan, temporary views inlined, with a placeholder where each leaf stands."""
    query: QueryStep = field(compare=False, repr=False)
    """The query as the user wrote it, names resolved and views not inlined."""
    remembers: bool = False
    """Whether an operator over a stream needs state."""
    recomputed: bool = False
    """Whether streams are aggregated without an end, so that each batch is about all rows."""
    stateful: StatefulPlan | None = field(default=None, compare=False, repr=False)
    """The plan cut at its operator with state, once the whole graph is known."""
    placed: Relation | None = field(default=None, compare=False, repr=False)
    """The plan with its rows' places, when a stream of them is to know these."""
    texts: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """The query's SQL, as the user wrote it."""
    streams: Mapping[str, str] = field(default_factory=dict)
    """For each leaf whose rows are to know their place the name of its order; "" for tables."""

    @property
    def streaming(self) -> bool:
        """Whether anything is read as a stream."""
        return any(leaf.streaming for leaf in self.leaves)

    def complete(self) -> FlowPlan:
        """The same query over all that there is, where it reads streams."""
        leaves = tuple(replace(leaf, streaming=False) for leaf in self.leaves)
        return replace(self, leaves=leaves, template=without_state(self.template))

    def bind(self, bound: Mapping[str, Relation]) -> Relation:
        """The plan that reads `bound[leaf.key]` where each leaf stands.

        An operator with state is computed over these rows alone. KeyError when a leaf is missing.
        The result shares nothing with the arguments.
        """
        if self.stateful is not None and self.stateful.outline is not None:
            return bind(self.stateful.outline, bound)
        return bind(without_state(self.template) if self.streaming else self.template, bound)

    def bind_placed(self, bound: Mapping[str, Relation]) -> Relation:
        """As `bind`; where the flow's rows are to know their place, with the hidden columns."""
        return self.bind(bound) if self.placed is None else bind(self.placed, bound)


def bind(template: Relation, bound: Mapping[str, Relation]) -> Relation:
    """A template that reads `bound[key]` where the leaf of that key stands, as `FlowPlan.bind`."""
    plan = proto.Relation()
    plan.CopyFrom(template)

    def visit(relation: Relation) -> bool:
        key = placeholder_key(relation)
        if key is None:
            return False
        plan_proto.replace(relation, plan_proto.renumber(bound[key]))
        return True

    plan_proto.rewrite(plan, visit)
    return plan


class Resolver(Protocol):
    """Turns the names in a query into plans. Raises PipelineError for what does not exist."""

    def dataset(
        self,
        parts: tuple[str, ...],
        *,
        streaming: bool,
        options: Mapping[str, str],
        at: Locate | None,
    ) -> FlowPlan | DatasetLeaf | TableLeaf | None:
        """A view's plan to inline, a leaf without key, or None for what is no business of ours.

        `at` tells where the name stands in SQL; None for a name in a DataFrame's plan.
        """

    def name(self, parts: tuple[str, ...]) -> str | None:
        """The dataset that a name means. Returns None if it means no dataset."""


def placeholder(leaf: Leaf) -> Relation:
    """What stands for the leaf in a template."""
    relation = proto.Relation()
    relation.common.plan_id = plan_proto.fresh_plan_id()
    relation.read.named_table.unparsed_identifier = leaf.key
    relation.read.named_table.options[_LEAF_OPTION] = leaf.key
    relation.read.is_streaming = leaf.streaming
    return relation


def placeholder_key(relation: Relation) -> str | None:
    """The leaf's key when the relation is a placeholder."""
    if plan_proto.kind(relation) != "read":
        return None
    key: str | None = relation.read.named_table.options.get(_LEAF_OPTION)
    return key


def read_plan(relation: Relation, resolver: Resolver, origin: QueryOrigin) -> FlowPlan:
    """Read a query's plan once: its leaves, and its steps and terms.

    Raises PipelineError for names that do not resolve, sources that cannot be streamed, SQL that
    cannot be read and operators over a stream that need state.
    """
    relation = _with_formats(relation)
    template = proto.Relation()
    template.CopyFrom(relation)
    reader = _Reader(resolver, origin)
    reader.asks_metadata = metadata.is_asked(template)
    plan_proto.rewrite(template, reader.visit)
    reader.check_expressions(template)
    query = PlanReader(resolver.name, reader.texts).step(relation)
    operators = stateful.check(query, origin.location)
    remembers = operators.remembers or reader.remembers
    recomputed = operators.recomputed or reader.recomputed
    if remembers and recomputed:
        raise PipelineError(
            "an aggregation over a stream and another operator with state, one of them in a view,"
            " cannot be computed together; let a streaming table hold the result of the first one",
            condition=CONDITION,
            location=origin.location,
        )
    reader.expose_metadata(template)
    return FlowPlan(
        tuple(reader.leaves.values()),
        template,
        query,
        remembers,
        recomputed=recomputed,
        texts=reader.texts.all,
    )


def _with_formats(relation: Relation) -> Relation:
    """The plan, with a format where files or a table are loaded without a word about it."""
    named = proto.Relation()
    named.CopyFrom(relation)
    for part in plan_proto.walk(named):
        if isinstance(part, proto.Read) and part.WhichOneof("read_type") == "data_source":
            source = part.data_source
            if not source.format:
                path = source.paths[0] if source.paths else source.options.get("path", "")
                source.format = format_of_source(path, streaming=part.is_streaming)
    return named


class _Reader:
    def __init__(self, resolver: Resolver, origin: QueryOrigin) -> None:
        self.resolver = resolver
        self.location = origin.location
        self.origin = origin
        self.texts = sql_text.SqlTexts(origin.place)
        self.leaves: dict[Any, Leaf] = {}
        """By what makes two leaves the same; in the order in which the query reads them."""
        self.remembers = False
        """Whether a view that is read has an operator with state."""
        self.recomputed = False
        """Whether a view that is read aggregates a stream without an end."""
        self.asks_metadata = False
        """Whether DataFrame code asks for `_metadata`, which engines do not know."""

    def visit(self, relation: Relation) -> bool:
        kind = plan_proto.kind(relation)
        if kind == "read":
            return self._read(relation)
        if kind == "sql":
            return self._sql(relation, relation.sql, {})
        if kind == "with_relations" and plan_proto.kind(relation.with_relations.root) == "sql":
            self._sql_with_relations(relation)
            return True
        if kind == "relation_changes":
            raise self._error(
                "the change feed of a table cannot be read in a pipeline; read the table as a stream",
                "UNSUPPORTED_STREAMING_SOURCE",
            )
        return False

    def _error(self, message: str, condition: str) -> PipelineError:
        return PipelineError(message, condition=condition, location=self.location)

    # -- DataFrames -----------------------------------------------------------------------------

    def _read(self, relation: Relation) -> bool:
        if relation.read.WhichOneof("read_type") == "data_source":
            return self._data_source(relation)
        table = relation.read.named_table
        parts = name_parts(table.unparsed_identifier)
        streaming = relation.read.is_streaming
        found = self.resolver.dataset(
            parts, streaming=streaming, options=dict(table.options), at=None
        )
        if found is None:
            return True
        inner = self._inline(found)
        plan = proto.Relation()
        plan.subquery_alias.alias = parts[-1]
        plan.subquery_alias.input.CopyFrom(inner)
        plan_proto.replace(relation, plan)
        return True

    def _inline(self, found: FlowPlan | Leaf) -> Relation:
        if not isinstance(found, FlowPlan):
            return placeholder(self._adopt(found))
        self.remembers = self.remembers or found.remembers
        self.recomputed = self.recomputed or (found.recomputed and found.streaming)
        renamed = {leaf.key: placeholder(self._adopt(leaf)) for leaf in found.leaves}
        return plan_proto.renumber(bind(found.template, renamed))

    def _adopt(self, leaf: Leaf) -> Leaf:
        if isinstance(leaf, DatasetLeaf):
            return self._dataset_leaf(leaf)
        return self._table_leaf(leaf) if isinstance(leaf, TableLeaf) else self._files_leaf(leaf)

    def _dataset_leaf(self, leaf: DatasetLeaf) -> DatasetLeaf:
        identity = (leaf.dataset, leaf.streaming, tuple(sorted(leaf.options.items())))
        mode = "stream" if leaf.streaming else "table"
        return self._keyed_leaf(  # type: ignore[return-value]
            identity,
            f"{mode}:{leaf.dataset}",
            lambda key: DatasetLeaf(key, leaf.dataset, leaf.streaming, leaf.options),
        )

    def _files_leaf(self, leaf: FilesLeaf) -> FilesLeaf:
        options = tuple(sorted(leaf.options.items()))
        identity = (leaf.path, options, leaf.schema, leaf.streaming)
        return self._keyed_leaf(  # type: ignore[return-value]
            identity,
            f"files:{_folder(leaf.path)}",
            lambda key: FilesLeaf(key, leaf.path, leaf.options, leaf.schema, leaf.streaming),
        )

    def _table_leaf(self, leaf: TableLeaf) -> TableLeaf:
        identity = ("delta", leaf.path, leaf.streaming, tuple(sorted(leaf.options.items())))
        mode = "stream" if leaf.streaming else "table"
        return self._keyed_leaf(  # type: ignore[return-value]
            identity,
            f"{mode}:delta:{_folder(leaf.path)}",
            lambda key: TableLeaf(key, leaf.path, leaf.streaming, leaf.options),
        )

    def _keyed_leaf(self, identity: Any, prefix: str, make: Any) -> Leaf:
        if identity not in self.leaves:
            taken = {leaf.key for leaf in self.leaves.values()}
            number = next(n for n in range(len(taken) + 1) if f"{prefix}:{n}" not in taken)
            self.leaves[identity] = make(f"{prefix}:{number}")
        return self.leaves[identity]

    def _data_source(self, relation: Relation) -> bool:
        source = relation.read.data_source
        streaming = relation.read.is_streaming
        name = source.format.lower()
        leaf: Leaf
        positions = name == "csv" and bool(source.schema)
        if name == "cloudfiles":
            if not streaming:
                raise self._error(
                    "format 'cloudFiles' is a stream; read it with spark.readStream",
                    "UNSUPPORTED_BATCH_SOURCE",
                )
            leaf = self._files(source, dict(source.options), streaming=True)
        elif name == "delta" and (streaming or not _travels(source.options)):
            options = dict(source.options)
            leaf = TableLeaf("", self._path(source, options), streaming, options)
        elif not streaming and not (
            positions or name in _NOT_IN_ENGINES or (self.asks_metadata and name in _FILE_FORMATS)
        ):
            return True
        elif name in _FILE_FORMATS:
            options = {
                _PER_TRIGGER.get(key.lower(), key): value for key, value in source.options.items()
            }
            options["cloudFiles.format"] = source.format
            if not streaming:
                options = _batch_options(options, name)
            if positions:
                options = {_BY_POSITION: "true", **options}
            if positions and not streaming:
                options = {"cloudFiles.validateOptions": "false", **options}
                return self._read_each(relation, source, options)
            leaf = self._files(source, options, streaming=streaming)
        else:
            raise self._error(
                f"a stream of format {source.format!r} cannot be read exactly once by two regions;"
                " land its data as files and read them with format 'cloudFiles'",
                "UNSUPPORTED_STREAMING_SOURCE",
            )
        plan_proto.replace(relation, placeholder(self._adopt(leaf)))
        return True

    def _read_each(self, relation: Relation, source: Any, options: dict[str, str]) -> bool:
        """Put a leaf for each path of a source in its place, all together."""
        paths = list(source.paths) or [self._path(source, options)]
        whole: Relation | None = None
        for path in paths:
            leaf = FilesLeaf("", path, options, source.schema, streaming=False)
            part = placeholder(self._adopt(leaf))
            if whole is not None:
                both = proto.Relation()
                both.common.plan_id = plan_proto.fresh_plan_id()
                both.set_op.left_input.CopyFrom(whole)
                both.set_op.right_input.CopyFrom(part)
                both.set_op.set_op_type = proto.SetOperation.SET_OP_TYPE_UNION
                both.set_op.is_all = True
                part = both
            whole = part
        plan_proto.replace(relation, whole)
        return True

    def _files(self, source: Any, options: dict[str, str], *, streaming: bool) -> FilesLeaf:
        path = self._path(source, options)
        return FilesLeaf("", path, options, source.schema or None, streaming)

    def _path(self, source: Any, options: dict[str, str]) -> str:
        """Return the one path of a source, which is taken out of its options."""
        paths = list(source.paths) or [
            options.pop(key) for key in list(options) if key.lower() == "path"
        ]
        if len(paths) != 1:
            raise self._error(
                f"format {source.format!r} reads one path, and {len(paths)} are given; name the"
                " folder, or a glob such as '/data/{a,b}/*.json'",
                "INVALID_SOURCE_PATH",
            )
        return str(paths[0])

    def check_expressions(self, template: Relation) -> None:
        """SQL in `expr`, `selectExpr` and `filter` must be SQL, and must read no tables."""
        for part in plan_proto.walk(template):
            if not isinstance(part, proto.Expression):
                continue
            if part.WhichOneof("expr_type") == "expression_string":
                text, at = part.expression_string.expression, plan_proto.location(part)
                try:
                    read = self.texts.expression(text, self._offsets_of(text, at))
                except PipelineError as error:
                    error.location = error.location or self.location
                    raise
                if read.fixes:
                    fixed = sql_text.apply_edits(text, list(read.fixes))
                    part.expression_string.expression = fixed
                if read.tree.find(exp.Table) is not None:
                    raise PipelineError(
                        f"the expression {text!r} reads a table, which cannot be followed; join the"
                        " table, or write the query with spark.sql()",
                        condition="UNSUPPORTED_SUBQUERY_EXPRESSION",
                        location=self.origin.in_own_file(at) if at else self.location,
                    )

    def _offsets_of(
        self, text: str, at: SourceLocation | None
    ) -> Callable[[int], SourceLocation | None]:
        """Where characters of an expression's text stand, that is written at or below a line."""

        def place(offset: int) -> SourceLocation | None:
            found = self.origin.place(text, offset, near=at.line if at else 0)
            return found if found.column is not None or at is None else self.origin.in_own_file(at)

        return place

    def expose_metadata(self, template: Relation) -> None:
        """Let the files that are asked for `_metadata` yield it."""
        hidden = {
            leaf.key
            for leaf in self.leaves.values()
            if isinstance(leaf, FilesLeaf) and metadata.OPTION not in leaf.options
        }

        def is_files(relation: Relation) -> str | None:
            key = placeholder_key(relation)
            return key if key in hidden else None

        option = metadata.option_for(template, self.texts) if hidden else ""
        exposed = metadata.expose(template, is_files, self.texts)
        if len(exposed) > 1 and option != "true":
            option = WHOLE  # which of them it is asked of is not known
        for identity, leaf in self.leaves.items():
            if isinstance(leaf, FilesLeaf) and leaf.key in exposed:
                options = {**leaf.options, metadata.OPTION: option}
                self.leaves[identity] = replace(leaf, options=options)

    # -- SQL ------------------------------------------------------------------------------------

    def _sql_with_relations(self, relation: Relation) -> None:
        node = relation.with_relations
        for reference in node.references:
            plan_proto.rewrite(reference, self.visit)
        given = {reference.subquery_alias.alias.casefold() for reference in node.references}
        self._sql(node.root, node.root.sql, given)
        if plan_proto.kind(node.root) == "with_relations":
            node.references.extend(node.root.with_relations.references)
            inner = proto.Relation()
            inner.CopyFrom(node.root.with_relations.root)
            node.root.CopyFrom(inner)

    def _refuse_stream_functions(self, read: sql_text.SqlReads) -> None:
        for call in read.tree.find_all(exp.Anonymous):
            if call.name.lower() in _STREAM_FUNCTIONS:
                raise self._error(
                    f"{call.name}() cannot be read exactly once by two regions; land its data as"
                    " files and read them with read_files()",
                    "UNSUPPORTED_STREAMING_SOURCE",
                )

    def _path_leaf(self, table: sql_text.TableRead, asked: Sequence[Any]) -> Leaf | None:
        """Return the leaf of a path in SQL (json.`/data/x`); None if the engine reads it itself."""
        if not sql_text.is_path(table.parts):
            return None
        name, path = table.parts[0].lower(), table.parts[1]
        if name == "delta" and not (table.is_versioned or _travels(table.options)):
            return TableLeaf("", path, table.streaming, dict(table.options))
        if name not in _FILE_FORMATS:
            return None
        options = {**table.options, "cloudFiles.format": table.parts[0]}
        if table.streaming:
            return FilesLeaf("", path, options)
        if not asked and name not in _NOT_IN_ENGINES:
            return None
        return FilesLeaf("", path, _batch_options(options, name), streaming=False)

    def _sql(self, relation: Relation, sql: Any, given: Collection[str]) -> bool:
        """Bind what the text reads as references. `given` are the names that it has already."""
        read = self.texts.query(sql.query)
        self._refuse_stream_functions(read)
        edits = list(read.fixes)
        asked = metadata.edits(read)
        if read.files or given or any(self._path_leaf(t, asked) for t in read.tables):
            edits += asked
        references: list[Relation] = []
        for each in read.reads:
            name = f"__proa_{len(references)}"
            if isinstance(each, sql_text.TableRead):
                if len(each.parts) == 1 and each.parts[0].casefold() in given:
                    continue
                target = self.resolver.dataset(
                    each.parts,
                    streaming=each.streaming,
                    options=each.options,
                    at=partial(self.texts.place, sql.query, each.name_at),
                ) or self._path_leaf(each, asked)
                if target is None:
                    continue
                inner, alias = self._inline(target), each.alias
            else:
                options = each.options
                if not names_format(options) and (kind := format_of_files(each.path, options)):
                    options = {**options, "cloudFiles.format": kind}
                leaf = FilesLeaf("", each.path, options, each.schema, each.streaming)
                inner, alias = placeholder(self._files_leaf(leaf)), ""
            references.append(
                plan_proto.alias(
                    name, _with_watermark(inner, each.watermark if each.streaming else None)
                )
            )
            edits.append(TextEdit(each.start, each.end, name))
            if each.alias_at is not None and alias:
                at = each.alias_at
                edits.append(TextEdit(at, at, f" AS {quote_identifier(alias)}"))
        if not edits:
            return True
        text = proto.Relation()
        text.common.plan_id = plan_proto.fresh_plan_id()
        text.sql.CopyFrom(sql)
        text.sql.query = sql_text.apply_edits(sql.query, edits)
        if references:
            plan = proto.Relation()
            plan.with_relations.root.CopyFrom(text)
            plan.with_relations.references.extend(references)
            text = plan
        plan_proto.replace(relation, text)
        return True


def _travels(options: Mapping[str, str]) -> bool:
    """Whether a Delta table is read as it was: then there is nothing to pin."""
    return any(key.lower() in _TIME_TRAVEL for key in options)


def _batch_options(options: Mapping[str, str], name: str) -> dict[str, str]:
    """Return options for the Auto Loader to read files as Spark's batch reader does."""
    infers = next((value for key, value in options.items() if key.lower() == "inferschema"), "")
    kept = {key: value for key, value in options.items() if key.lower() != "inferschema"}
    typed = name != "csv" or infers.lower() == "true"
    return {
        "cloudFiles.inferColumnTypes": str(typed).lower(),
        "cloudFiles.schemaEvolutionMode": "none",
        "proa.rescue": "false",
        **kept,
    }


def _with_watermark(inner: Relation, watermark: tuple[str, str] | None) -> Relation:
    if watermark is None:
        return inner
    plan = proto.Relation()
    plan.common.plan_id = plan_proto.fresh_plan_id()
    plan.with_watermark.input.CopyFrom(inner)
    plan.with_watermark.event_time, plan.with_watermark.delay_threshold = watermark
    return plan


def _folder(path: str) -> str:
    """The last part of a path that names something: "/landing/orders/*.json" is "orders"."""
    names = [part for part in re.split(r"[/\\]+", path) if part and not re.search(r"[*?{\[]", part)]
    if len(names) > 1 and "." in names[-1]:
        names.pop()
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", names[-1]) if names else "files"
