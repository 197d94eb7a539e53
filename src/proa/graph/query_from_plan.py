"""DataFrame plans as steps and terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pyspark.sql.connect import proto
from sqlglot import exp

from proa.errors import SourceLocation
from proa.formats.reader_options import TYPED_FORMATS, WHOLE_FORMATS
from proa.graph import plan_proto, query_from_sql, sql_text
from proa.graph.plan_proto import Message, Relation
from proa.graph.query import JoinKind, Operator, Output, QueryStep, Term, TermKind
from proa.pipelines.identifiers import name_parts

_OPERATORS: dict[str, tuple[Operator, str]] = {
    "filter": (Operator.FILTER, "a filter"),
    "join": (Operator.JOIN, "a join"),
    "as_of_join": (Operator.JOIN, "an as-of join"),
    "lateral_join": (Operator.JOIN, "a lateral join"),
    "nearest_by_join": (Operator.JOIN, "a nearest-by join"),
    "sample": (Operator.SAMPLE, "a sample"),
    "sample_by": (Operator.SAMPLE, "a stratified sample"),
    "with_watermark": (Operator.WATERMARK, "a watermark"),
    "unpivot": (Operator.UNPIVOT, "unpivoting"),
    "group_map": (Operator.GROUP_FUNCTION, "applying a function to groups"),
    "co_group_map": (Operator.GROUP_FUNCTION, "applying a function to co-grouped tables"),
    "apply_in_pandas_with_state": (Operator.GROUP_FUNCTION, "a function with state"),
    "transpose": (Operator.STATISTICS, "transposing"),
    "summary": (Operator.STATISTICS, "summary statistics"),
    "describe": (Operator.STATISTICS, "summary statistics"),
    "crosstab": (Operator.STATISTICS, "a cross-tabulation"),
    "cov": (Operator.STATISTICS, "a covariance"),
    "corr": (Operator.STATISTICS, "a correlation"),
    "approx_quantile": (Operator.STATISTICS, "quantiles"),
    "freq_items": (Operator.STATISTICS, "frequent items"),
}
"""Relations that need no translating, by protobuf's name for them; the text is the user's word."""
_LIMITS = {"limit": "a limit", "offset": "an offset", "tail": "tail()"}
_SAME_ROWS = ("subquery_alias", "drop", "repartition", "hint", "repartition_by_expression")
_type = proto.Join.JoinType
_JOIN_KINDS = {
    _type.JOIN_TYPE_LEFT_OUTER: JoinKind.LEFT,
    _type.JOIN_TYPE_LEFT_SEMI: JoinKind.LEFT,
    _type.JOIN_TYPE_LEFT_ANTI: JoinKind.LEFT,
    _type.JOIN_TYPE_RIGHT_OUTER: JoinKind.RIGHT,
    _type.JOIN_TYPE_FULL_OUTER: JoinKind.FULL,
}
_OTHER_JOINS = {
    "as_of_join": JoinKind.NEAREST,
    "nearest_by_join": JoinKind.NEAREST,
    "lateral_join": JoinKind.LATERAL,
}
_group = proto.Aggregate.GroupType
_GROUPING_SETS = (
    _group.GROUP_TYPE_ROLLUP,
    _group.GROUP_TYPE_CUBE,
    _group.GROUP_TYPE_GROUPING_SETS,
)
_INFIX = {"+", "-", "*", "/", "%", "==", "!=", "<", ">", "<=", ">=", "and", "or", "<=>"}


class PlanReader:
    """Translates the plans of one flow."""

    def __init__(
        self, dataset: Callable[[tuple[str, ...]], str | None], texts: sql_text.SqlTexts
    ) -> None:
        """`dataset` says which dataset a table's name means, or None."""
        self.dataset = dataset
        self.texts = texts

    # -- relations ------------------------------------------------------------------------------

    def step(self, relation: Relation) -> QueryStep:
        """The steps of a plan."""
        kind = plan_proto.kind(relation)
        if not kind:
            return QueryStep(Operator.OTHER)
        node = getattr(relation, kind)
        if kind == "read":
            return self._read(node)
        if kind == "sql":
            return self._sql(node.query, {})
        if kind == "with_relations":
            return self._with_relations(node)
        inputs = tuple(self.step(child) for child in _inputs(node))
        if kind in _SAME_ROWS:
            return inputs[0]
        step = self._operator(kind, node, inputs)
        return replace(step, location=step.location or self._place(node))

    def _operator(self, kind: str, node: Any, inputs: tuple[QueryStep, ...]) -> QueryStep:
        if kind == "project":
            return QueryStep(Operator.PROJECT, inputs, self._outputs(node.expressions))
        if kind == "with_columns":
            outputs = tuple(
                Output(".".join(alias.name), self.term(alias.expr)) for alias in node.aliases
            )
            return QueryStep(Operator.EXTEND, inputs, outputs)
        if kind == "aggregate":
            return self._aggregate(node, inputs)
        if kind == "sort":
            keys = tuple(self.term(order.child) for order in node.order)
            operator = Operator.SORT if node.is_global else Operator.OTHER
            return QueryStep(operator, inputs, keys=keys, text="sorting")
        if kind in _LIMITS:
            count = node.limit if kind == "limit" else None
            return QueryStep(Operator.LIMIT, inputs, count=count, text=_LIMITS[kind])
        if kind == "deduplicate":
            keys = tuple(Term(TermKind.COLUMN, name, text=name) for name in node.column_names)
            return QueryStep(Operator.DEDUPLICATE, inputs, keys=keys, text="removing duplicates")
        if kind == "set_op":
            return _set_operation(node, inputs)
        if kind == "with_columns_renamed":
            pairs = [(rename.col_name, rename.new_col_name) for rename in node.renames]
            names = (*node.rename_columns_map.items(), *pairs)
            return QueryStep(Operator.RENAME, inputs, names=names)
        operator, text = _OPERATORS.get(kind, (Operator.OTHER, ""))
        terms = self._terms_in(node)
        if kind == "join":
            terms += [Term(TermKind.COLUMN, name, text=name) for name in node.using_columns]
        step = QueryStep(operator, inputs, tuple(Output(None, term) for term in terms), text=text)
        if operator is Operator.JOIN:
            side = _JOIN_KINDS.get(node.join_type, JoinKind.INNER) if kind == "join" else None
            return replace(step, join=side or _OTHER_JOINS[kind])
        return step

    def _aggregate(self, node: Any, inputs: tuple[QueryStep, ...]) -> QueryStep:
        keys = tuple(self.term(key) for key in node.grouping_expressions)
        for grouping in node.grouping_sets:
            keys += tuple(self.term(key) for key in grouping.grouping_set)
        if node.group_type in _GROUPING_SETS:
            keys += (Term(TermKind.CALL, "grouping_id", text="grouping_id()"),)
        grouped = tuple(Output(_name(key), self.term(key)) for key in node.grouping_expressions)
        outputs = (*grouped, *self._outputs(node.aggregate_expressions))
        pivots = node.group_type == proto.Aggregate.GroupType.GROUP_TYPE_PIVOT
        return QueryStep(
            Operator.AGGREGATE,
            inputs,
            outputs,
            keys,
            text="an aggregation",
            named_values=not pivots or bool(node.pivot.values),
        )

    def _read(self, node: Any) -> QueryStep:
        if node.WhichOneof("read_type") == "data_source":
            source = node.data_source
            paths = list(source.paths) or [source.options.get("path", "")]
            return QueryStep(
                Operator.SOURCE,
                format=source.format.lower(),
                path=paths[0],
                schema=source.schema or _hints(source.options),
                streaming=node.is_streaming,
                infers_types=not source.schema and _infers(source.options),
                clock_options=_clock_options(source.options, streaming=node.is_streaming),
            )
        return self._table(name_parts(node.named_table.unparsed_identifier), node.is_streaming)

    def _table(self, parts: tuple[str, ...], streaming: bool) -> QueryStep:  # noqa: FBT001
        name = self.dataset(parts)
        if name is None:
            is_path = sql_text.is_path(parts)
            return QueryStep(
                Operator.SOURCE,
                format=parts[0].lower() if is_path else "table",
                path=parts[-1] if is_path else ".".join(parts),
                streaming=streaming,
            )
        return QueryStep(Operator.SOURCE, dataset=name, streaming=streaming)

    def _with_relations(self, node: Any) -> QueryStep:
        references = [self.step(reference) for reference in node.references]
        if plan_proto.kind(node.root) != "sql":
            return replace(self.step(node.root), extra=tuple(references))
        given = {
            reference.subquery_alias.alias.casefold(): made
            for reference, made in zip(node.references, references, strict=True)
            if plan_proto.kind(reference) == "subquery_alias"
        }
        return self._sql(node.root.sql.query, given)

    def _sql(self, text: str, given: Mapping[str, QueryStep]) -> QueryStep:
        read = self.texts.query(text)

        def locate(line: int) -> SourceLocation | None:
            return self.texts.location(text, line)

        def source(table: exp.Table) -> QueryStep:
            files = read.stand_ins.get(table.name)
            streaming = bool(table.meta.get(sql_text.STREAM))
            at = locate(read.line(table))
            if files is None:
                parts = tuple(part.name for part in table.parts)
                return replace(self._table(parts, streaming), location=at)
            return QueryStep(
                Operator.SOURCE,
                format="cloudfiles",
                path=files.path,
                schema=files.schema or _hints(files.options),
                streaming=streaming,
                infers_types=not files.schema and _infers(files.options),
                clock_options=_clock_options(files.options, streaming=streaming),
                location=at,
            )

        return query_from_sql.query(read, locate, source, given)

    def _place(self, node: Any) -> SourceLocation | None:
        return next(
            filter(None, (plan_proto.location(part) for part in plan_proto.own_parts(node))), None
        )

    # -- expressions ----------------------------------------------------------------------------

    def _outputs(self, expressions: Any) -> tuple[Output, ...]:
        return tuple(self._output(expression) for expression in expressions)

    def _output(self, expression: Message) -> Output:
        kind = expression.WhichOneof("expr_type")
        if kind == "alias":
            made = self.term(expression.alias.expr)
            at = made.location or plan_proto.location(expression)
            return Output(_name(expression), replace(made, location=at))
        if kind == "expression_string":
            at = plan_proto.location(expression)
            text = expression.expression_string.expression
            return query_from_sql.expression(self.texts.expression(text), at)
        return Output(_name(expression), self.term(expression))

    def _terms_in(self, node: Message) -> list[Term]:
        found = []
        for part in plan_proto.parts(node):
            if isinstance(part, proto.Expression):
                found.append(self.term(part))
            elif isinstance(part, proto.CommonInlineUserDefinedFunction):
                found.append(self._udf(part, None))
            elif not isinstance(part, proto.Relation):
                found.extend(self._terms_in(part))
        return found

    def term(self, expression: Message) -> Term:
        """The term of an expression."""
        kind = expression.WhichOneof("expr_type") or ""
        node = getattr(expression, kind) if kind else expression
        at = plan_proto.location(expression)
        base = Term(TermKind.OTHER, location=at)
        if kind == "unresolved_attribute":
            name = node.unparsed_identifier
            return replace(base, kind=TermKind.COLUMN, name=name, text=name)
        if kind == "literal":
            return _literal(node, base)
        if kind == "alias":
            return self.term(node.expr)
        if kind == "expression_string":
            return query_from_sql.expression(self.texts.expression(node.expression), at).term
        if kind == "unresolved_star":
            return replace(base, kind=TermKind.STAR, text="*")
        if kind == "window":
            return self._window(node, base)
        if kind == "common_inline_user_defined_function":
            return self._udf(node, at)
        children = tuple(self._terms_in(node))
        if kind in ("unresolved_function", "call_function"):
            name = node.function_name.lower()
            return replace(
                base, kind=TermKind.CALL, name=name, args=children, text=_call_text(name, children)
            )
        if kind == "unresolved_extract_value":
            return self._extract(children, base)
        if kind == "cast":
            to = node.type_str.lower() if node.type_str else _type_name(node.type)
            text = f"CAST({children[0].text} AS {to})"
            return replace(base, kind=TermKind.CAST, name=to, args=children[:1], text=text)
        if kind == "subquery_expression":
            return replace(base, kind=TermKind.SUBQUERY, args=children, text="(subquery)")
        name = "lambda" if kind == "lambda_function" else ""
        text = ", ".join(child.text for child in children)
        return replace(base, name=name, args=children, text=text)

    def _extract(self, children: tuple[Term, ...], base: Term) -> Term:
        child, key = children[0], children[1]
        text = f"{child.text}.{key.name}"
        if child.kind is TermKind.COLUMN and key.type == "string":
            return replace(base, kind=TermKind.COLUMN, name=text, text=text)
        text = f"{child.text}[{key.text}]"
        return replace(base, kind=TermKind.CALL, name="element_at", args=children, text=text)

    def _window(self, node: Any, base: Term) -> Term:
        function = self.term(node.window_function)
        frame = node.frame_spec.frame_type if node.HasField("frame_spec") else 0
        return replace(
            base,
            kind=TermKind.WINDOW,
            args=(function,),
            text=f"{function.text} OVER (...)",
            partition=tuple(self.term(part) for part in node.partition_spec),
            order=tuple(self.term(order.child) for order in node.order_spec),
            rows_frame=frame == proto.Expression.Window.WindowFrame.FRAME_TYPE_ROW,
        )

    def _udf(self, node: Any, at: SourceLocation | None) -> Term:
        arguments = tuple(self.term(argument) for argument in node.arguments)
        return Term(
            TermKind.UDF,
            node.function_name,
            arguments,
            _call_text(node.function_name, arguments),
            at or next((part.location for part in arguments if part.location), None),
            function=node,
        )


def _set_operation(node: Any, inputs: tuple[QueryStep, ...]) -> QueryStep:
    if node.set_op_type == proto.SetOperation.SET_OP_TYPE_UNION:
        step, text = QueryStep(Operator.UNION, inputs), "UNION without ALL"
    else:
        text = "INTERSECT or EXCEPT"
        step = QueryStep(Operator.SET_OPERATION, inputs, text=text)
    return step if node.is_all else QueryStep(Operator.DEDUPLICATE, (step,), text=text)


def _inputs(node: Any) -> list[Relation]:
    return [part for part in plan_proto.parts(node) if isinstance(part, proto.Relation)]


def _hints(options: Any) -> str:
    lowered = {key.lower(): value for key, value in options.items()}
    hints: str = lowered.get("cloudfiles.schemahints", "")
    return hints


def _infers(options: Any) -> bool:
    lowered = {key.lower(): value.lower() for key, value in options.items()}
    typed = lowered.get("cloudfiles.format", "").lower() in TYPED_FORMATS | WHOLE_FORMATS
    return lowered.get("cloudfiles.infercolumntypes") == "true" and not typed


def _clock_options(options: Mapping[str, str], *, streaming: bool) -> tuple[str, ...]:
    """The options that let a region's start or clock choose files, as users write them."""
    values = {key.lower().removeprefix("cloudfiles."): v.lower() for key, v in options.items()}
    from_start = streaming and values.get("includeexistingfiles") == "false"
    wanted = {"includeExistingFiles": from_start, "maxFileAge": "maxfileage" in values}
    return tuple(option for option, is_there in wanted.items() if is_there)


def _name(expression: Message) -> str | None:
    kind = expression.WhichOneof("expr_type")
    if kind == "alias":
        return ".".join(expression.alias.name)
    if kind == "unresolved_attribute":
        name: str = expression.unresolved_attribute.unparsed_identifier
        return name_parts(name)[-1]
    return None


def _literal(node: Any, base: Term) -> Term:
    kind = node.WhichOneof("literal_type") or "null"
    value = getattr(node, kind, None)
    types = {"long": "int", "integer": "int", "short": "int", "byte": "int", "float": "double"}
    text = repr(value) if isinstance(value, str) else str(value)
    name = value if isinstance(value, str) else text
    return replace(base, kind=TermKind.LITERAL, name=name, text=text, type=types.get(kind, kind))


def _type_name(data_type: Any) -> str:
    return data_type.WhichOneof("kind") or ""


def _call_text(name: str, arguments: tuple[Term, ...]) -> str:
    texts = [argument.text for argument in arguments]
    if name in _INFIX and len(texts) == 2:
        return f"({texts[0]} {name} {texts[1]})"
    return f"{name}({', '.join(texts)})"
