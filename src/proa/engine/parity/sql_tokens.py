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
