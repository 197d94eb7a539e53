"""Reads Spark's SQL expressions into nodes that know their spans."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from proa.engine.parity.sql_nodes import Node
from proa.engine.parity.sql_tokens import Token, UnreadableSqlError, tokens
from proa.text import literal_value

_COMPARISONS = {"=": "==", "==": "==", "<=>": "<=>", "<>": "!=", "!=": "!=", "<": "<", "<=": "<=",
                ">": ">", ">=": ">="}  # fmt: skip
_LEVELS: tuple[dict[str, str], ...] = (
    _COMPARISONS,
    {"|": "|"},
    {"^": "^"},
    {"&": "&"},
    {"<<": "shiftleft", ">>": "shiftright", ">>>": "shiftrightunsigned"},
    {"+": "+", "-": "-", "||": "concat"},
    {"*": "*", "/": "/", "%": "%", "DIV": "div"},
)
_TYPED = {"DATE", "TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIME"}
_UNITS = {
    "YEAR", "YEARS", "QUARTER", "QUARTERS", "MONTH", "MONTHS", "WEEK", "WEEKS", "DAY", "DAYS",
    "DAYOFYEAR", "HOUR", "HOURS", "MINUTE", "MINUTES", "SECOND", "SECONDS", "MILLISECOND",
    "MILLISECONDS", "MICROSECOND", "MICROSECONDS", "NANOSECOND", "NANOSECONDS",
}  # fmt: skip
_WITH_UNIT = {"TIMESTAMPADD", "TIMESTAMPDIFF", "DATEADD", "DATEDIFF", "DATE_ADD", "DATE_DIFF"}
_BARE = {"CURRENT_DATE", "CURRENT_TIMESTAMP", "CURRENT_TIME", "CURRENT_USER", "LOCALTIMESTAMP", "USER",
         "SESSION_USER"}  # fmt: skip
_ENDS = {
    "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "UNION", "INTERSECT", "EXCEPT",
    "MINUS", "ON", "USING", "JOIN", "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "NATURAL", "SEMI",
    "ANTI", "LATERAL", "WINDOW", "QUALIFY", "SORT", "CLUSTER", "DISTRIBUTE", "PIVOT", "UNPIVOT",
    "TABLESAMPLE", "THEN", "WHEN", "ELSE", "END", "AND", "OR", "IS", "IN", "BETWEEN", "LIKE", "AS",
    "ASC", "DESC", "NULLS", "ROWS", "RANGE", "OVER", "FILTER", "TO", "DIV", "NOT", "ESCAPE", "RLIKE",
    "REGEXP", "ILIKE", "FOR", "PLACING", "SET",
}  # fmt: skip
_SUFFIXES = {
    "Y": "tinyint",
    "S": "smallint",
    "L": "bigint",
    "D": "double",
    "F": "float",
    "BD": "decimal",
}
_FEWEST_INT, _MOST_INT, _MOST_LONG = -(2**31), 2**31 - 1, 2**63 - 1


class SqlReader:
    """A place in the tokens of a text, and how to go on from there."""

    def __init__(self, text: str, found: list[Token] | None = None) -> None:
        self.text = text
        self.tokens = found if found is not None else tokens(text)
        self.at = 0
        self.moving = False
        self.offset = ""

    # -- tokens -----------------------------------------------------------------------------------

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def ahead(self, by: int = 1) -> Token:
        return self.tokens[min(self.at + by, len(self.tokens) - 1)]

    def next(self) -> Token:
        token = self.token
        self.at += token.kind != "end"
        return token

    def sees(self, *words: str) -> bool:
        """Whether the next tokens are these words or signs."""
        for k, word in enumerate(words):
            token = self.ahead(k)
            if token.word != word and not (token.kind == "sign" and token.text == word):
                return False
        return True

    def takes(self, *words: str) -> bool:
        if self.sees(*words):
            self.at += len(words)
            return True
        return False

    def takes_one(self, *words: str) -> str:
        for word in words:
            if self.takes(word):
                return word
        return ""

    def needs(self, *words: str) -> None:
        if not self.takes(*words):
            self.fail()

    def fail(self) -> None:
        raise UnreadableSqlError(f"{self.token.text!r} at {self.token.start}")

    def end_node(self, node: Node, start: int) -> Node:
        """`node` with the span from `start` to the last token taken."""
        node.start, node.end = start, self.tokens[self.at - 1].end
        return node

    def identifier(self) -> str:
        token = self.next()
        if token.kind == "quoted":
            return token.text[1:-1].replace("``", "`")
        if token.kind != "word":
            self.at -= 1
            self.fail()
        return token.text

    # -- expressions ------------------------------------------------------------------------------

    def whole(self) -> Node:
        """The expression that the whole text is, perhaps with an alias."""
        node = self.aliased_expression()
        if self.token.kind != "end":
            self.fail()
        return node

    def aliased_expression(self) -> Node:
        """An expression with or without a name, as in SELECT."""
        start = self.token.start
        node = self.expression()
        if self.takes("AS"):
            if self.takes("("):
                names = [self.identifier()]
                while self.takes(","):
                    names.append(self.identifier())
                self.needs(")")
            else:
                names = [self.identifier()]
        elif self.token.kind == "quoted" or (
            self.token.kind == "word" and self.token.word not in _ENDS
        ):
            names = [self.identifier()]
        elif node.kind != "star" and self.sees("(") and self.ahead().kind in {"word", "quoted"}:
            self.next()
            names = [self.identifier()]
            while self.takes(","):
                names.append(self.identifier())
            self.needs(")")
        else:
            return node
        return self.end_node(Node("alias", names[0], [node], value=tuple(names)), start)

    def expression(self) -> Node:
        start = self.token.start
        node = self._and()
        while self.takes("OR"):
            node = self.end_node(Node("call", "or", [node, self._and()]), start)
        return node

    def _and(self) -> Node:
        start = self.token.start
        node = self._not()
        while self.takes("AND"):
            node = self.end_node(Node("call", "and", [node, self._not()]), start)
        return node

    def _not(self) -> Node:
        start = self.token.start
        if self.takes("NOT") or (self.sees("!") and self.takes("!")):
            return self.end_node(Node("call", "not", [self._not()]), start)
        return self._predicate()

    def _predicate(self) -> Node:
        start = self.token.start
        node = self.binary(0)
        while True:
            back = self.at
            negated = self.takes("NOT")
            found = self._predicate_of(node)
            if found is None:
                self.at = back
                return node
            if negated and found.name.endswith((" any", " all")):
                found.name, negated = f"not {found.name}", False
            node = found if negated else self.end_node(found, start)
            if negated:
                node = self.end_node(Node("call", "not", [node], value="infix"), start)

    def _predicate_of(self, node: Node) -> Node | None:
        if self.takes("BETWEEN"):
            low = self.binary(0)
            self.needs("AND")
            return Node("call", "between", [node, low, self.binary(0)])
        if self.takes("IN"):
            self.needs("(")
            if self.sees("SELECT") or self.sees("WITH") or self.sees("VALUES"):
                query = self.query()
                self.needs(")")
                return Node("call", "in_query", [node, query])
            items = self.list_to(")")
            return Node("call", "in", [node, *items])
        if word := self.takes_one("LIKE", "ILIKE"):
            name = word.lower()
            if quantifier := self.takes_one("ANY", "SOME", "ALL"):
                self.needs("(")
                which = "all" if quantifier == "ALL" else "any"
                return Node("call", f"{name} {which}", [node, *self.list_to(")")])
            args = [node, self.binary(0)]
            if self.takes("ESCAPE"):
                args.append(self._primary())
            return Node("call", name, args)
        if self.takes_one("RLIKE", "REGEXP"):
            return Node("call", "rlike", [node, self.binary(0)])
        if self.takes("IS"):
            negated = self.takes("NOT")
            if self.takes("NULL"):
                return Node("call", "isnotnull" if negated else "isnull", [node])
            if word := self.takes_one("TRUE", "FALSE", "UNKNOWN"):
                return Node("call", f"is {'not ' if negated else ''}{word.lower()}", [node])
            self.needs("DISTINCT")
            self.needs("FROM")
            same = Node("call", "<=>", [node, self.binary(0)])
            return same if negated else Node("call", "is distinct from", same.args)
        return None

    def binary(self, level: int) -> Node:
        """A value: what stands between predicates."""
        if level == len(_LEVELS):
            return self._unary()
        start = self.token.start
        node = self.binary(level + 1)
        signs = _LEVELS[level]
        while (text := self.token.word or self.token.text) in signs and self.token.kind != "string":
            self.next()
            node = self.end_node(
                Node("call", signs[text], [node, self.binary(level + 1)], value=text), start
            )
        return node

    def _unary(self) -> Node:
        start = self.token.start
        if self.token.kind == "sign" and self.token.text in {"-", "+", "~"}:
            sign = self.next().text
            if sign == "-" and self.token.kind == "number":
                node = self._number(self.next(), start, minus=True)
                return self._postfix(node, start)
            name = {"-": "negative", "+": "positive", "~": "~"}[sign]
            return self.end_node(Node("call", name, [self._unary()], value=sign), start)
        return self._primary()

    def _primary(self) -> Node:
        start = self.token.start
        return self._postfix(self._atom(), start)

    def _postfix(self, node: Node, start: int) -> Node:
        while True:
            if self.takes("["):
                key = self.expression()
                self.needs("]")
                node = self.end_node(Node("access", "[", [node, key]), start)
            elif self.takes("::"):
                node = self.end_node(
                    Node("cast", "cast", [node], value=self.type_text(), shown="::"), start
                )
            elif (
                node.kind != "column" and self.sees(".") and self.ahead().kind in {"word", "quoted"}
            ):
                self.next()
                name = self.identifier()
                node = self.end_node(Node("access", ".", [node], value=name), start)
            elif self.sees(":") and self.ahead().kind in {"word", "quoted"}:
                raise UnreadableSqlError("a path of JSON")
            else:
                return node

    def list_to(self, end: str) -> list[Node]:
        """Expressions with commas between, up to `end`, which is taken."""
        items: list[Node] = []
        if self.takes(end):
            return items
        while True:
            items.append(self.argument())
            if self.takes(end):
                return items
            self.needs(",")

    def argument(self) -> Node:
        """What may stand in a call: an expression, a lambda, a named argument, a star."""
        start = self.token.start
        if self.token.kind in {"word", "quoted"} and self.ahead().text in {"->", "=>"}:
            name = self.identifier()
            if self.next().text == "->":
                return self.end_node(Node("lambda", "", [self.expression()], value=(name,)), start)
            return self.end_node(Node("named", name.lower(), [self.expression()]), start)
        if self.sees("(") and (names := self._lambda_names()):
            return self.end_node(Node("lambda", "", [self.expression()], value=names), start)
        if self.sees("SELECT") or (self.sees("WITH") and self.ahead().text != "("):
            return self.query()
        node = self.expression()
        if self.takes("AS"):
            return self.end_node(Node("alias", "", [node], value=(self.identifier(),)), start)
        return node

    def _lambda_names(self) -> tuple[str, ...]:
        k, names = 1, []
        while self.ahead(k).kind in {"word", "quoted"}:
            names.append(self.ahead(k).text.strip("`"))
            if self.ahead(k + 1).text == ")":
                if self.ahead(k + 2).text != "->":
                    return ()
                self.at += k + 3
                return tuple(names)
            if self.ahead(k + 1).text != ",":
                return ()
            k += 2
        return ()

    # -- atoms ------------------------------------------------------------------------------------

    def _atom(self) -> Node:
        token = self.token
        start = token.start
        if token.kind == "number":
            return self._number(self.next(), start)
        if token.kind == "string":
            return self._string()
        if self.takes("*"):
            return self.end_node(Node("star"), start)
        if self.takes("("):
            return self._bracket(start)
        if token.kind == "quoted":
            return self._column()
        word = token.word
        if not word:
            self.fail()
        following = self.ahead()
        if word in _TYPED and following.kind == "string":
            self.next()
            node = Node("literal", word.lower(), value=literal_value(self.next().text))
            return self.end_node(node, start)
        if (
            word == "INTERVAL"
            and following.text not in {"(", ")", ",", "."}
            and following.kind != "end"
        ):
            return self._interval()
        if following.text != "(":
            if word in {"NULL", "TRUE", "FALSE"}:
                self.next()
                value = {"NULL": None, "TRUE": True, "FALSE": False}[word]
                return self.end_node(
                    Node("literal", "void" if value is None else "boolean", value=value), start
                )
            if word == "CASE":
                return self._case()
            if word in _BARE:
                self.next()
                return self.end_node(Node("call", word.lower(), value="bare"), start)
            return self._column()
        return self._call()

    def _bracket(self, start: int) -> Node:
        if self.sees("SELECT") or self.sees("WITH") or self.sees("VALUES") or self.sees("FROM"):
            query = self.query()
            self.needs(")")
            return self.end_node(Node("call", "scalar_query", [query]), start)
        items = self.list_to(")")
        if len(items) == 1:
            return self.end_node(Node("call", "()", items), start)
        return self.end_node(Node("call", "struct", items, value="row"), start)

    def _column(self) -> Node:
        start = self.token.start
        parts = [self.identifier()]
        while self.sees("."):
            if self.ahead().text == "*":
                self.at += 2
                return self.end_node(Node("star", parts=tuple(parts)), start)
            if self.ahead().kind not in {"word", "quoted"}:
                break
            self.next()
            parts.append(self.identifier())
        if self.sees("(") and len(parts) > 1:
            self.fail()
        return self.end_node(Node("column", parts[-1], parts=tuple(parts)), start)

    def _number(self, token: Token, start: int, *, minus: bool = False) -> Node:
        text = token.text.upper()
        suffix = "BD" if text.endswith("BD") else text[-1] if text[-1] in _SUFFIXES else ""
        digits = ("-" if minus else "") + text.removesuffix(suffix)
        name, value = "decimal", Decimal(digits)
        if suffix:
            name = _SUFFIXES[suffix]
        elif "E" in digits:
            name = "double"
        elif "." not in digits:
            whole = int(value)
            name = (
                "int" if _FEWEST_INT <= whole <= _MOST_INT
                else "bigint" if -_MOST_LONG - 1 <= whole <= _MOST_LONG else "decimal"
            )  # fmt: skip
        exact: Any = int(value) if name in {"tinyint", "smallint", "int", "bigint"} else value
        if name in {"double", "float"}:
            exact = float(value)
        return self.end_node(Node("literal", name, value=exact), start)

    def _string(self) -> Node:
        start, value, name, shown = self.token.start, "", "string", ""
        while self.token.kind == "string":
            text = self.next().text
            if text[0] in "xX" and text[1] == "'":
                name = "binary"
            value += literal_value(text) if name == "string" else text[2:-1]
            if text[0] * 2 in text[1:-1] or re.search(r"\\[uU0-7]", text):
                shown = "escaped"
        return self.end_node(Node("literal", name, value=value, shown=shown), start)

    def _interval(self) -> Node:
        start = self.next().start
        args: list[Node] = []
        units: list[str] = []
        while True:
            negative = self.takes("-")
            if self.token.kind in {"string", "number"}:
                token = self.next()
                node = (
                    self._number(token, token.start, minus=negative)
                    if token.kind == "number"
                    else Node("literal", "string", value=literal_value(token.text))
                )
                args.append(node)
            elif not args:
                args.append(self._primary())
            else:
                break
            if self.token.word not in _UNITS:
                break
            units.append(self.next().word.lower().rstrip("s"))
            if self.takes("TO"):
                units.append("to " + self.next().word.lower().rstrip("s"))
                break
        return self.end_node(Node("interval", " ".join(units), value=tuple(units)), start)

    def _case(self) -> Node:
        start = self.next().start
        subject = None if self.sees("WHEN") else self.expression()
        args: list[Node] = [] if subject is None else [subject]
        while self.takes("WHEN"):
            args.append(self.expression())
            self.needs("THEN")
            args.append(self.expression())
        otherwise = self.takes("ELSE")
        if otherwise:
            args.append(self.expression())
        self.needs("END")
        value = ("subject" if subject is not None else "", "else" if otherwise else "")
        return self.end_node(Node("case", "case", args, value=value), start)

    def _call(self) -> Node:
        start = self.token.start
        name = self.next().text.lower()
        self.needs("(")
        node = self._special(name) or self._arguments(name)
        node = self.end_node(node, start)
        node = self._after(node, start)
        if self.takes("OVER"):
            self.moving, self.offset = False, ""
            spec = self.window()
            moving = "moving" if self.moving else ""
            node = self.end_node(Node("window", self.offset, [node, *spec], value=moving), start)
        return node

    def _arguments(self, name: str) -> Node:
        node = Node("call", name)
        if self.takes("DISTINCT"):
            node.distinct = True
        else:
            self.takes("ALL")
        if name.upper() in _WITH_UNIT and self.token.word in _UNITS and self.ahead().text == ",":
            token = self.next()
            node.name = f"{name} unit"
            unit = self.end_node(Node("unit", token.word.lower()), token.start)
            self.needs(",")
            node.args = [unit, *self.list_to(")")]
            return node
        if self.takes(")"):
            return node
        while True:
            node.args.append(self.argument())
            if kind := self.takes_one("IGNORE", "RESPECT"):
                self.needs("NULLS")
                node.value = f"{kind.lower()} nulls"
            if self.takes("ORDER", "BY"):
                node.args += self.sort_keys()
            if self.takes(")"):
                return node
            self.needs(",")

    def _special(self, name: str) -> Node | None:
        if name in {"cast", "try_cast"}:
            arg = self.expression()
            self.needs("AS")
            node = Node("cast", name, [arg], value=self.type_text())
            self.needs(")")
            return node
        if name == "exists" and (self.sees("SELECT") or self.sees("WITH") or self.sees("FROM")):
            node = Node("call", "exists_query", [self.query()])
            self.needs(")")
            return node
        if name == "extract":
            field_name = self.next().text
            self.needs("FROM")
            node = Node("call", "extract", [self.expression()], value=field_name.lower())
            self.needs(")")
            return node
        if name in {"substring", "substr", "overlay", "position", "trim"}:
            return self._words_inside(name)
        return None

    def _words_inside(self, name: str) -> Node | None:
        """Calls that have words between their arguments; None for the usual form."""
        back = self.at
        if name == "trim":
            side = self.takes_one("BOTH", "LEADING", "TRAILING")
            what = None if self.sees("FROM") else self.expression()
            if self.takes("FROM"):
                arg = self.expression()
                self.needs(")")
                plain = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(side, "btrim")
                return Node(
                    "call", f"{plain} from", [arg] if what is None else [what, arg], value=side
                )
            self.at = back
            return None
        args = [self.binary(0) if name == "position" else self.expression()]
        between = {"position": ("IN",), "overlay": ("PLACING", "FROM", "FOR")}.get(
            name, ("FROM", "FOR")
        )
        if not self.sees(between[0]):
            self.at = back
            return None
        args += [self.expression() for word in between if self.takes(word)]
        self.needs(")")
        return Node("call", name, args, value="words")

    def _after(self, node: Node, start: int) -> Node:
        if self.takes("WITHIN", "GROUP"):
            self.needs("(")
            self.needs("ORDER", "BY")
            node.value = "within"
            node.args += self.sort_keys()
            self.needs(")")
            self.end_node(node, start)
        if kind := self.takes_one("IGNORE", "RESPECT"):
            self.needs("NULLS")
            node.value = f"{kind.lower()} nulls"
            self.end_node(node, start)
        if self.takes("FILTER"):
            self.needs("(")
            self.needs("WHERE")
            condition = self.expression()
            self.needs(")")
            return self.end_node(Node("filter", "", [node, condition]), start)
        return node

    def sort_keys(self) -> list[Node]:
        """The keys of an ORDER BY."""
        keys = []
        while True:
            start = self.token.start
            node = self.expression()
            order = self.takes_one("ASC", "DESC")
            nulls = self.takes_one("FIRST", "LAST") if self.takes("NULLS") else ""
            keys.append(self.end_node(Node("sort", f"{order} {nulls}".strip(), [node]), start))
            if not self.takes(","):
                return keys

    def window(self) -> list[Node]:
        """The expressions of a window's specification; [] for a name of one."""
        if not self.takes("("):
            self.identifier()
            return []
        found: list[Node] = []
        if self.takes_one("PARTITION", "DISTRIBUTE"):
            self.needs("BY")
            found.append(self.expression())
            while self.takes(","):
                found.append(self.expression())
        if self.takes_one("ORDER", "SORT"):
            self.needs("BY")
            found += self.sort_keys()
        ranged = self.sees("RANGE")
        if self.takes_one("ROWS", "RANGE"):
            between = self.takes("BETWEEN")
            self.moving = not self.sees("UNBOUNDED", "PRECEDING")
            offsets = [self._bound()]
            if between:
                self.needs("AND")
                offsets.append(self._bound())
            self.offset = max(offsets) if ranged else ""
        if not self.takes(")"):
            self.fail()
        return found

    def frame(self) -> list[Node]:
        """The expressions of a named window, as one node where its frame has offsets of a range."""
        start, self.offset = self.token.start, ""
        spec = self.window()
        return [self.end_node(Node("frame", self.offset, spec), start)] if self.offset else spec

    def _bound(self) -> str:
        """Read an end of a frame; "number" or "interval" where it is an offset, else ""."""
        offset = ""
        if self.takes("CURRENT"):
            self.needs("ROW")
            return offset
        if not self.takes("UNBOUNDED"):
            offset = "interval" if self.expression().kind == "interval" else "number"
        if not self.takes_one("PRECEDING", "FOLLOWING"):
            self.fail()
        return offset

    def type_text(self) -> str:
        """A type's name as written."""
        start = self.token.start
        word = self.identifier().upper()
        if self.sees("<"):
            depth = 0
            while True:
                text = self.next().text
                depth += {"<": 1, ">": -1, ">>": -2, ">>>": -3, "<>": 0}.get(text, 0)
                if depth <= 0:
                    break
                if self.token.kind == "end":
                    self.fail()
        elif self.takes("("):
            while not self.takes(")"):
                self.next()
                if self.token.kind == "end":
                    self.fail()
        elif word == "INTERVAL" and self.token.word in _UNITS:
            self.next()
            if self.takes("TO"):
                self.next()
        if word in {"STRING", "TIMESTAMP"} and self.sees("COLLATE"):
            raise UnreadableSqlError("COLLATE")
        return re.sub(r"\s+", " ", self.text[start : self.tokens[self.at - 1].end])

    def query(self) -> Node:
        """A query inside of an expression; the reader of queries says how."""
        return self.fail()  # type: ignore[return-value, func-returns-value]
