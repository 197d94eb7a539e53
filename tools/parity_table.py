"""Finds what the embedded engine does not answer as Spark did, and writes the table of refusals.

    python tools/parity_table.py

It asks without the table, so that what a rule has made equal since is in it no longer.
"""

from __future__ import annotations

import collections
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

os.environ["TZ"] = "UTC"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engine"))

import parity_corpus

from proa.engine import Engine
from proa.engine.parity.coerce import REMEDY
from proa.engine.parity.parity_table import signature, title
from proa.engine.parity.sql_nodes import Node
from proa.engine.parity.sql_queries import QueryReader
from proa.engine.parity.sql_tokens import UnreadableSqlError
from proa.engine.parity.typist import DiffersError, Scope, Typist, World

TABLE = Path(__file__).parents[1] / "src/proa/engine/parity/refused.json"
LIST = Path(__file__).with_name("parity_refusals.json")
"""What has no answer, for the reference: [function, what, what to do instead]."""

_SENTENCE = re.compile(r"does not compute (.+?) as Spark does(?: \(.*?\))?: (.+)", re.DOTALL)
_WRONG = {"value", "type", "lenient"}
_MOST = 0.5


def outermost(text: str, columns: list[tuple[str, Any]], world: World) -> Node:
    """The call that an expression of the corpus is about, typed."""
    node = QueryReader(text).whole()
    while node.kind in {"window", "filter", "alias"} or node.name in {"()", "sort_array", "not"}:
        over = node.kind == "window"
        node = node.args[0]
        if over:
            node.shown = "over"
    Typist(world).node(node, Scope([("edge", name, type_) for name, type_ in columns]))
    return node


def refusal(name: str, kind: str, detail: str) -> tuple[str, str, str]:
    """(function, what, instead) of an outcome without an answer."""
    match = _SENTENCE.search(detail)
    if match is None or kind != "refused":
        return name, "some arguments: the engine fails", REMEDY
    what, instead = match.groups()
    return name, re.sub(r"the pattern .+? of (\w+\(\)): .*", r"some patterns of \1", what), instead


def main() -> None:
    from proa.engine.parity import parity_table as table

    corpus = parity_corpus.corpus()
    known: dict[str, list[str]] = {}
    TABLE.write_text(json.dumps({"refused": known}) + "\n")
    tested: collections.Counter[str] = collections.Counter()
    wrong: dict[str, set[str]] = collections.defaultdict(set)
    listed: set[tuple[str, str, str]] = set()
    with Engine.start() as engine:
        frame = parity_corpus.edge(engine.spark)
        columns = [(f.name, f.dataType) for f in frame.schema.fields]
        judge = parity_corpus.Judge(parity_corpus.sql_of(engine))
        outcomes = (
            [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
            if sys.argv[1:]
            else [[o.kind, o.query, o.detail] for o in judge.everything(corpus)]
        )

        def rule(node: Node, typist: Typist) -> Node | None:
            try:
                return table.decide(node, typist)
            except DiffersError:
                return None

        def ask(call: Node) -> Any:
            try:
                return parity_corpus.asker(engine)(call)
            except Exception:
                return None

        world = World(lambda _: [], ask, rule)
        for kind, query, detail in outcomes:
            text = parity_corpus.expression_of(query)
            if text is None:
                continue
            try:
                node = outermost(text, columns, world)
            except (UnreadableSqlError, DiffersError, AttributeError, IndexError, TypeError):
                if kind in _WRONG:
                    print("unread:", kind, query, detail)
                continue
            name = title(node)
            tested[name] += 1
            if kind in {"refused", "fails"}:
                listed.add(refusal(name, kind, detail))
            if kind in _WRONG:
                wrong[name].add(signature(node))
                print(kind, "|", name, "|", signature(node), "|", query, "|", detail)
    for name, found in wrong.items():
        merged = sorted({*known.get(name, ()), *found})
        whole = len(merged) > 2 and len(merged) > _MOST * tested[name]
        known[name] = ["*"] if whole or "*" in merged else merged
    TABLE.write_text(json.dumps({"refused": dict(sorted(known.items()))}, indent=1) + "\n")
    LIST.write_text(
        json.dumps(sorted(listed), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    print(collections.Counter(kind for kind, _, _ in outcomes), len(known))


if __name__ == "__main__":
    main()
