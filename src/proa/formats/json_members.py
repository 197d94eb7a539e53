"""Members of JSON lines as text, a column at a time.

DuckDB takes the lines apart. It writes numbers and nested values in its own way (1.50 comes as
1.5), so those are cut out of the line once more, by an expression, exactly as they were written.
What the expression cannot cut out for certain is left to `exact`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from proa.formats.arrow_json import Lines
from proa.formats.json_record import Converter
from proa.formats.json_values import parse_record
from proa.formats.rescued import rescued_column


class UnreadableError(Exception):
    """One of the lines is not one JSON object whose names are all different."""


class TextColumns:
    """The columns that are read as text.

    `raw` columns keep the JSON as it is, `strings` are the value of a JSON string, or else JSON.
    """

    def __init__(self, raw: set[str], strings: set[str]) -> None:
        self._raw = set(raw)
        self._strings = set(strings)
        self._connection: Any = None

    @property
    def names(self) -> set[str]:
        return self._raw | self._strings

    def add_string(self, name: str) -> None:
        self._strings.add(name)

    def read(self, lines: Lines) -> dict[str, pa.Array]:
        """The columns of the lines; UnreadableError when a line is not one object."""
        strings = sorted(self._strings)
        columns = self.members(lines, self._raw)
        if not strings:
            return columns
        shape = json.dumps(dict.fromkeys(strings, "VARCHAR"))
        picked = ", ".join(f"v[{_quoted(name)}]" for name in strings)
        table = self._run(
            f"SELECT {picked} FROM"  # noqa: S608 - every name in it is quoted
            f" (SELECT json_transform(line, {_quoted(shape)}) AS v FROM lines)",
            lines,
        )
        for i, name in enumerate(strings):
            columns[name] = _as_written(lines, name, _one(table.column(i)).cast(pa.string()))
        return columns

    def members(self, lines: Lines, names: Iterable[str]) -> dict[str, pa.Array]:
        """The members `names` of each line as they are written; null where there is none."""
        names = sorted(names)
        if not names:
            return {}
        pointers = [_quoted("/" + n.replace("~", "~0").replace("/", "~1")) for n in names]
        picked = ", ".join(f"v[{i}]" for i in range(1, len(names) + 1))
        table = self._run(
            f"SELECT {picked} FROM"  # noqa: S608 - every name in it is quoted
            f" (SELECT json_exists(line, [{', '.join(pointers)}]) AS v FROM lines)",
            lines,
        )
        return {name: _member(lines, name, _one(table.column(i))) for i, name in enumerate(names)}

    def rescue(
        self, lines: Lines, extra: Iterable[str], wrong: dict[str, pa.Array], convert: Converter
    ) -> pa.Array:
        """The rescued data column; null where there is nothing to rescue.

        In it are the members `extra` of each line, and `wrong`, which are members as written.
        """
        parts = []
        for name, found in (self.members(lines, extra) | wrong).items():
            texts = found
            nested = pc.match_substring_regex(texts, r"^[{\[]")
            if pc.any(nested).as_py():
                texts = _rewritten(texts, nested, lambda text: json.dumps(text, ensure_ascii=False))
            texts = pc.if_else(pc.equal(texts, "null"), _NO_TEXT, texts)
            folder = None if name in wrong else convert.folder(name)
            if folder is not None:
                same = pa.array([folder, json.dumps(folder, ensure_ascii=False)])
                texts = pc.if_else(pc.is_in(texts, same), _NO_TEXT, texts)
            parts.append((name, texts))
        return rescued_column(parts, len(lines), convert.file)

    def unknown(self, lines: Lines, known: Iterable[str]) -> list[str]:
        """The names in the lines' objects that are not in `known`, sorted.

        UnreadableError when a line is not an object, or has a name twice.
        """
        found = self._run("SELECT DISTINCT json_keys(line) AS k FROM lines", lines).column(0)
        names: set[str] = set()
        for keys in found.to_pylist():
            if len(set(keys)) < len(keys):
                raise UnreadableError
            names.update(keys)
        return sorted(names.difference(known))

    def _run(self, query: str, lines: Lines) -> pa.Table:
        if self._connection is None:
            self._connection = duckdb.connect(config={"threads": 1})
        self._connection.register("lines", pa.table({"line": lines.array}))
        try:
            return self._connection.sql(query).to_arrow_table()
        except (duckdb.InvalidInputException, duckdb.ConversionException):
            raise UnreadableError from None
        finally:
            self._connection.unregister("lines")


_NO_TEXT = pa.scalar(None, pa.string())
_STRING = r'"(?:[^"\\]|\\.)*"'
_SIMPLE = rf"{_STRING}|-?[0-9][0-9.eE+-]*|true|false|null"


def _nested(depth: int) -> str:
    inner = rf'[^{{}}\[\]"]|{_STRING}' + (f"|{_nested(depth - 1)}" if depth else "")
    return rf"[{{\[](?:{inner})*[}}\]]"


_VALUE = rf"[ \t]*:[ \t]*(?P<v>{_SIMPLE}|{_nested(3)})[ \t\r]*[,}}]"


def _member(lines: Lines, name: str, present: pa.Array) -> pa.Array:
    """The member of the lines that have it, as it is written."""
    quoted = json.dumps(name, ensure_ascii=False)
    if "\\" in quoted:
        texts, doubtful = pa.nulls(len(lines), pa.string()), present
    else:
        found = pc.extract_regex(lines.array, pattern=re.escape(quoted) + _VALUE)
        texts = pc.if_else(pc.and_(present, found.is_valid()), found.field("v"), _NO_TEXT)
        # Where the name stands once in the line, there is nothing else that it could be.
        if len(texts) - texts.null_count == len(lines) == lines.block.count(quoted.encode()):
            return texts
        once = pc.equal(pc.count_substring(lines.array, quoted), 1)
        doubtful = pc.and_(present, pc.invert(pc.and_(once, texts.is_valid())))
    places = pc.indices_nonzero(doubtful).to_pylist()
    if not places:
        return texts
    mended = [_exactly(lines.array[i].as_py(), name) for i in places]
    return pc.replace_with_mask(texts, doubtful, pa.array(mended, pa.string()))


def _exactly(line: str, name: str) -> str | None:
    try:
        record = parse_record(line)
    except ValueError:
        raise UnreadableError from None
    return record.raw.get(name) if record is not None else None


_REWRITTEN = r"^[{\[]|^-?[0-9.]+[.eE]|^-?0$|^-?[iI]nf|^-?[nN]a[nN]"
"""What DuckDB may have written in its own way."""


def _as_written(lines: Lines, name: str, column: pa.Array) -> pa.Array:
    suspect = pc.fill_null(pc.match_substring_regex(column, _REWRITTEN), fill_value=False)
    if not pc.any(suspect).as_py():
        return column
    texts = _member(lines, name, column.is_valid())
    is_string = pc.starts_with(texts, '"')
    replaced = pc.and_(suspect, pc.fill_null(pc.invert(is_string), fill_value=False))
    return pc.if_else(replaced, texts, column)


def _rewritten(texts: pa.Array, mask: pa.Array, change: Any) -> pa.Array:
    values = texts.filter(mask).dictionary_encode()
    changed = pa.array([change(text) for text in values.dictionary.to_pylist()], pa.string())
    return pc.replace_with_mask(
        texts, pc.fill_null(mask, fill_value=False), changed.take(values.indices)
    )


def _one(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
