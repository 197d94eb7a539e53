"""SQL text in tokens, with their places."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<string>[rR]'[^']*'|[rR]"[^"]*"|'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
    |(?P<binary>[xX]'[0-9a-fA-F]*')
    |(?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?(?:BD|bd|[YSLDFyslfd])?(?![A-Za-z0-9_]))
    |(?P<quoted>`(?:[^`]|``)*`)
    |(?P<word>[^\W\d]\w*|\d+[A-Za-z_]\w*)
    |(?P<sign><=>|<<|>>>|>>|->|=>|::|\|\||<=|>=|<>|!=|==|\|>|[-+*/%&|^~=<>!().,\[\]:?@;{}\#$])
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    start: int
    end: int

    @property
    def word(self) -> str:
        """The keyword or name in capitals; "" for other tokens."""
        return self.text.upper() if self.kind == "word" else ""


class UnreadableSqlError(Exception):
    """The text is not what the parity pass can read; its argument says where."""


def tokens(text: str) -> list[Token]:
    """The tokens of `text` without spaces and comments; the last one is an empty "end".

    Raises UnreadableSqlError for a character that starts no token.
    """
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise UnreadableSqlError(f"{text[at : at + 10]!r}")
        kind = match.lastgroup or ""
        if kind == "binary":
            kind = "string"
        if kind != "space":
            found.append(Token(kind, match.group(), at, match.end()))
        at = match.end()
    found.append(Token("end", "", len(text), len(text)))
    return found


_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)", re.DOTALL)
_LETTERS = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "b": "\b",
    "0": "\0",
    "Z": "\x1a",
    "%": "\\%",
    "_": "\\_",
}


def literal_value(text: str) -> str:
    """The value of a string literal as Spark reads it."""
    if text[0] in "rR":
        return text[2:-1]
    quote, inner = text[0], text[1:-1]

    def unescape_match(match: re.Match[str]) -> str:
        code = match.group(1)
        if code[0] in "uU" and len(code) > 1:
            return chr(int(code[1:], 16))
        if len(code) == 3:
            return chr(int(code, 8))
        return _LETTERS.get(code, code)

    pieces = _ESCAPE.sub(unescape_match, inner.replace(quote * 2, "\\" + quote))
    return pieces.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def string_literal(value: str) -> str:
    """`value` as a string literal of SQL."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped.replace(chr(13), chr(92) + 'r').replace(chr(0), chr(92) + '0')}'"
