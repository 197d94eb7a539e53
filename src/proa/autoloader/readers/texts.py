"""Columns of JSON lines as text, through DuckDB: any value, nested ones as JSON."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from proa.autoloader.readers.exact import dump, parse


class UnreadableError(Exception):
    """One of the lines is not one JSON object."""


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

    def read(self, lines: pa.Array) -> dict[str, pa.Array]:
        """The columns of the lines; UnreadableError when a line is not one object."""
        names = sorted(self.names)
        wanted = {name: "JSON" if name in self._raw else "VARCHAR" for name in names}
        picked = ", ".join(f"v[{_quoted(name)}]" for name in names)
        table = self._run(
            f"SELECT {picked} FROM (SELECT json_transform(line, {_quoted(json.dumps(wanted))}) AS v"  # noqa: S608 - names are quoted
            " FROM lines)",
            lines,
        )
        columns = [_one(table.column(i)) for i in range(len(names))]
        return {
            name: self._exact(lines, name, column)
            for name, column in zip(names, columns, strict=True)
        }

    def unknown(self, lines: pa.Array, known: list[str]) -> list[str]:
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

    def rescue(self, lines: pa.Array, extra: list[str], known: list[str], file: str) -> pa.Array:
        """The rescued data column: the `extra` members of each line; null where there is none."""
        parts = [
            f"CASE WHEN json_type(j[{i}]) = 'NULL' THEN NULL"
            f" WHEN json_type(j[{i}]) IN ('OBJECT', 'ARRAY')"
            f" THEN {_quoted(json.dumps(name, ensure_ascii=False) + ':')}"
            f" || to_json(j[{i}]::VARCHAR)::VARCHAR"
            f" ELSE {_quoted(json.dumps(name, ensure_ascii=False) + ':')} || j[{i}]::VARCHAR END"
            for i, name in enumerate(sorted(extra), start=1)
        ]
        pointers = [_quoted("/" + n.replace("~", "~0").replace("/", "~1")) for n in sorted(extra)]
        end = _quoted(f',"_file_path":{json.dumps(file, ensure_ascii=False)}}}')
        query = (
            f"SELECT CASE WHEN t = '' THEN NULL ELSE '{{' || t || {end} END FROM"  # noqa: S608 - names are quoted
            f" (SELECT concat_ws(',', {', '.join(parts)}) AS t FROM"
            f" (SELECT json_extract(line, [{', '.join(pointers)}]) AS j FROM lines))"
        )
        return _one(self._run(query, lines).column(0))

    def _run(self, query: str, lines: pa.Array) -> pa.Table:
        if self._connection is None:
            self._connection = duckdb.connect(config={"threads": 1})
        self._connection.register("lines", pa.table({"line": lines}))
        try:
            return self._connection.sql(query).to_arrow_table()
        except (duckdb.InvalidInputException, duckdb.ConversionException):
            raise UnreadableError from None
        finally:
            self._connection.unregister("lines")

    def _exact(self, lines: pa.Array, name: str, column: pa.Array) -> pa.Array:
        """Mend numbers, which DuckDB writes in its own way: 1.50 comes as 1.5."""
        pattern = r"[0-9]\.[0-9]|[0-9][eE]|[0-9]{16}|NaN|nan|[iI]nf"
        suspect = pc.fill_null(pc.match_substring_regex(column, pattern), fill_value=False)
        places = pc.indices_nonzero(suspect)
        if not len(places):
            return column
        mended = [self._text(lines[i].as_py(), name) for i in places.to_pylist()]
        return pc.replace_with_mask(column, suspect, pa.array(mended, column.type))

    def _text(self, line: str, name: str) -> str | None:
        value = parse(line).get(name)
        if value is None:
            return None
        return str(value) if isinstance(value, str) and name in self._strings else dump(value)


def _one(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    array = pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found
    return array.cast(pa.string())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
