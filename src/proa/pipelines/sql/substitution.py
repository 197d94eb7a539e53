"""`${key}` in SQL: replaced by the pipeline's configuration, as text, before anything is parsed.

Apart because it changes text, and what reads text does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from proa.pipelines.sql.lexer import Piece, SqlText, Substitution, TokenKind
from proa.text import suggestion

_PARAMETER = re.compile(r"\$\{([^{}]*)\}")
_PREFIX = re.compile(r"^(?:spark|conf|sparkconf|hiveconf):")


def replace(source: SqlText, piece: Piece, configuration: Mapping[str, str]) -> SqlText:
    """The statement `piece` of `source` with its parameters replaced; comments are left alone.

    Raises PipelineError for a key that the configuration does not have.
    """
    parts: list[str] = []
    edits: list[Substitution] = []
    length = 0
    for token in piece.tokens:
        if token.kind is TokenKind.COMMENT or "${" not in token.text:
            parts.append(token.text)
            length += len(token.text)
            continue
        position = 0
        for match in _PARAMETER.finditer(token.text):
            before = token.text[position : match.start()]
            where = token.start + match.start()
            value = _value(source, match.group(1).strip(), where, configuration)
            start = length + len(before)
            edits.append(Substitution(start, start + len(value), where, token.start + match.end()))
            parts += [before, value]
            length = start + len(value)
            position = match.end()
        parts.append(token.text[position:])
        length += len(token.text) - position
    return SqlText(
        "".join(parts), source.file, origin=source, offset=piece.start, edits=tuple(edits)
    )


def _value(source: SqlText, key: str, offset: int, configuration: Mapping[str, str]) -> str:
    name = _PREFIX.sub("", key)
    if name not in configuration:
        raise source.error(
            f"there is no configuration key {name!r}{suggestion(name, configuration)};"
            " add it under 'configuration' in the pipeline's specification, or SET it above",
            offset,
            condition="UNKNOWN_CONFIGURATION_KEY",
        )
    return configuration[name]
