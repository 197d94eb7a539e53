"""The pass over a plan: SQL text and expressions in, what gives Spark's answers out."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pyspark.sql.connect import proto
from pyspark.sql.types import TimestampType

from proa.engine.parity.coerce import REMEDY
from proa.engine.parity.parity_table import decide
from proa.engine.parity.plans import PlanPass
from proa.engine.parity.rules_aggregates import AGGREGATES
from proa.engine.parity.sql_nodes import DataType, Node
from proa.engine.parity.sql_queries import QueryReader
from proa.engine.parity.sql_render import render_node
from proa.engine.parity.sql_tokens import UnreadableSqlError
from proa.engine.parity.typist import Columns, DiffersError, Typist, UntoldError, World
from proa.errors import UserError

CONDITION = "UNSUPPORTED_FEATURE"
_QUERY = re.compile(r"\s*(?:\(|SELECT\b|WITH\b|VALUES\b|FROM\b|TABLE\b)", re.IGNORECASE)
_MOST_ASKED = 20_000


class Parity:
    """Makes plans for one session of the embedded engine.

    `schema` tells what a relation yields, `register` makes a kernel known to the engine under a name.
    """

    def __init__(
        self,
        schema: Callable[[Any], Any],
        register: Callable[[str, Callable[..., Any], DataType], None],
        settings: Mapping[str, str] | None = None,
    ) -> None:
        given = settings or {}
        self._ansi = given.get("spark.sql.ansi.enabled", "true").lower() != "false"
        self._zone = given.get("spark.sql.session.timeZone", "UTC")
        self._utc = self._zone in {"UTC", "Etc/UTC", "Z"}
        self._schema = schema
        self._register = register
        self._asked: dict[str, DataType] = {}
        self._registered: set[str] = set()
        self._tables_named = 0
        self._aggregates: Counter[str] = Counter()

    def relation(self, relation: Any) -> tuple[Any, bool]:
        """A copy of `relation` for which the embedded engine answers as Spark.

        Also whether it holds as long as `relation` does: not when tables were read by their names.
        Raises UserError for what has no equal, with its name and its line.
        """
        names_before = self._tables_named
        self._aggregates.clear()
        return self._make(relation), self._tables_named == names_before

    def _make(self, relation: Any) -> Any:
        copy = proto.Relation()
        copy.CopyFrom(relation)
        typist = Typist(World(self._table, self.ask, decide, self._ansi, self._utc))
        plan_pass = PlanPass(typist, self._columns, self._text_relation, self._make_known)
        try:
            plan_pass.visit(copy)
        except UnreadableSqlError as error:
            self._schema(relation)  # says what is wrong in the engine's words, if anything is
            raise _refusal(DiffersError(str(error), "write it in another way")) from error
        except UntoldError as error:
            self._schema(relation)
            raise _refusal(error) from error
        except DiffersError as error:
            raise _refusal(error) from error
        return copy

    def _text_relation(self, relation: Any) -> None:
        """Rewrite a relation that is SQL text, with what the text refers to."""
        if relation.WhichOneof("rel_type") == "sql":
            self._text(relation.sql, {})
            return
        named = {}
        for reference in relation.with_relations.references:
            reference.CopyFrom(self._make(reference))
            if reference.WhichOneof("rel_type") == "subquery_alias":
                name = reference.subquery_alias.alias.casefold()
                named[name] = self._columns(reference)
        self._text(relation.with_relations.root.sql, named)

    def _text(self, sql: Any, named: dict[str, Columns]) -> None:
        text = sql.query
        if not _QUERY.match(text):
            return
        try:
            sql.query = self._rewritten(text, named)
        except UntoldError:
            raise
        except DiffersError as error:
            line = text.count("\n", 0, max(error.at, 0)) + 1
            where = f" (line {line} of the query)" if error.at >= 0 and "\n" in text else ""
            raise _refusal(error, where) from error

    def _table(self, parts: tuple[str, ...]) -> Columns:
        self._tables_named += 1
        relation = proto.Relation()
        relation.read.named_table.unparsed_identifier = ".".join(f"`{part}`" for part in parts)
        return self._columns(relation)

    def _rewritten(self, text: str, named: dict[str, Columns]) -> str:
        query = QueryReader(text).whole_query()

        def table(parts: tuple[str, ...]) -> Columns:
            if len(parts) == 1 and parts[0].casefold() in named:
                return named[parts[0].casefold()]
            return self._table(parts)

        nodes: list[Node] = []
        typist = Typist(World(table, self.ask, decide, self._ansi, self._utc))
        typist.query(query, {}, None, nodes)
        for node in nodes:
            self._make_known(node)
        return _with_names(text, nodes)

    def _make_known(self, node: Node, copy: int = 0) -> None:
        """Name the kernels in `node`; those in an aggregate that was there before have other names.

        The engine takes two calls of a kernel for two functions, and then two aggregates of one name
        for an error.
        """
        now = node.now
        if now.kind == "call" and now.name in AGGREGATES:
            shape = _shape(now)
            copy = self._aggregates[shape]
            self._aggregates[shape] += 1
            if copy:  # a rule's answer may have two aggregates of one node: it has one name only
                now.args = [_copy_of(arg) for arg in now.args]
        if now.kind == "kernel":
            self._check_zone(now)
            now.shown = self._name(now.name, now.type, copy)
        written = now.value.args[1:] if isinstance(now.value, Node) else []
        # A window that a rule made is partitioned and ordered by what was written.
        for arg in (*now.args, *written):
            self._make_known(arg, copy)

    def _check_zone(self, node: Node) -> None:
        """Proa's own functions read moments as UTC."""
        types = [node.type, *(arg.now.type for arg in node.args)]
        if not self._utc and any(isinstance(x, TimestampType) for x in types):
            raise DiffersError(
                f"{node.name}() of timestamps in the time zone {self._zone!r}",
                "use UTC, or convert with from_utc_timestamp()",
                node.start,
            )

    def _name(self, name: str, type_: DataType, copy: int) -> str:
        type_ = type_._as_nullable()  # noqa: SLF001 - a kernel may answer with NULL anywhere
        shown = f"proa_{name}_{zlib.crc32(type_.json().encode()):08x}"
        shown += f"_{copy}" if copy else ""
        if shown not in self._registered:
            from pyspark.sql.pandas.types import to_arrow_type

            from proa.engine.parity.kernels import caller

            self._register(shown, caller(name, to_arrow_type(type_, timezone="UTC")), type_)
            self._registered.add(shown)
        return shown

    def ask(self, call: Node) -> DataType:
        """The type of a call over values of its arguments' types, as the engine knows it."""
        probe = _probe(call)
        if probe is None:
            return None
        text = render_node("", probe)
        if text not in self._asked:
            relation = proto.Relation()
            relation.sql.query = f"SELECT {text} AS x"
            if len(self._asked) > _MOST_ASKED:
                self._asked.clear()
            try:
                self._asked[text] = self._schema(relation).fields[0].dataType
            except Exception:  # noqa: BLE001 - the engine says what is wrong when it gets the query
                self._asked[text] = None
        return self._asked[text]

    def _columns(self, relation: Any) -> Columns:
        return [(f.name, f.dataType) for f in self._schema(relation).fields]


def _copy_of(node: Node) -> Node:
    by = None if node.by is None else _copy_of(node.by)
    return replace(node, args=[_copy_of(arg) for arg in node.args], by=by)


def _shape(node: Node) -> str:
    """What two expressions have in common when they compute the same."""
    now = node.now
    args = ",".join(map(_shape, now.args))
    return f"{now.kind} {now.name} {now.distinct} {now.value!r} {now.parts}({args})"


def _probe(call: Node) -> Node | None:
    """The call over NULLs of its arguments' types; None where one is not known."""
    args = []
    for arg in call.args:
        node = arg.now
        if node.kind == "literal":
            args.append(Node("literal", node.name, [], node.type, value=node.value))
        elif node.type is None:
            return None
        else:
            args.append(Node("literal", "", [], node.type))
    return Node("call", call.name, args, distinct=call.distinct)


def _with_names(text: str, nodes: list[Node]) -> str:
    """The text with all changed nodes written anew, and the names of the columns kept."""
    edits: list[tuple[int, int, str]] = []
    seen: set[int] = set()
    for node in nodes:
        if node.start < 0 or id(node) in seen or not (node.changed or node.shown):
            continue
        seen.add(id(node))
        if node.shown == "?":
            node.shown = " ".join(text[node.start : node.end].split())
        alias = (
            f" AS `{node.shown.replace('`', '``')}`" if node.shown and node.shown != "over" else ""
        )
        body = render_node(text, node) if node.changed else text[node.start : node.end]
        edits.append((node.start, node.end, body + alias))
    pieces, at = [], 0
    for start, end, body in sorted(edits):
        if start < at:
            continue
        pieces += [text[at:start], body]
        at = end
    return "".join([*pieces, text[at:]])


def _refusal(error: DiffersError, where: str = "") -> UserError:
    if not where and error.message is not None:
        site = error.message.common.origin.python_origin.call_site.partition("\n")[0]
        where = f" ({site})" if site else ""
    remedy = error.remedy or REMEDY
    refused = UserError(
        f"the embedded engine does not compute {error.what} as Spark does{where}: {remedy}",
        condition=CONDITION,
    )
    called = re.search(r"(\w+)\(\)", error.what)
    refused.about = called[1] if called else ""
    return refused
