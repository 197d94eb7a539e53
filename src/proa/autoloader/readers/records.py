"""CSV records, one character at a time, as Spark takes them apart."""

from __future__ import annotations

from collections.abc import Iterator

from proa.autoloader.options import ReaderOptions


def records(text: str, options: ReaderOptions) -> Iterator[tuple[list[str | None] | None, int]]:
    """(the values of a record, where the next one begins); blank lines are left out.

    The values are None when the record ends within quotes. A value that is the null value, and
    not in quotes, is None.
    """
    if not options.quote or options.quote not in text:
        yield from _unquoted(text, options)
        return
    at = 0
    while at < len(text):
        if text.startswith(("\n", "\r\n"), at):
            at += 1 if text[at] == "\n" else 2
            continue
        values, at = _record(text, at, options)
        yield values, at


def _unquoted(text: str, options: ReaderOptions) -> Iterator[tuple[list[str | None] | None, int]]:
    at = 0
    for line in text.split("\n"):
        at = min(at + len(line) + 1, len(text))
        plain = line.removesuffix("\r")
        if plain:
            values = plain.split(options.delimiter)
            yield [None if value == options.null_value else value for value in values], at


def _record(text: str, at: int, options: ReaderOptions) -> tuple[list[str | None] | None, int]:
    values: list[str | None] = []
    while True:
        quoted = bool(options.quote) and text.startswith(options.quote, at)
        value, at, closed = _quoted(text, at + 1, options) if quoted else ("", at, True)
        if not closed:
            return None, len(text)
        begin = at
        while at < len(text) and text[at] not in {options.delimiter, "\n"}:
            at += 1
        plain = text[begin:at]
        ends = at >= len(text) or text[at] == "\n"
        if ends and plain.endswith("\r"):
            plain = plain[:-1]
        if quoted:
            values.append(value + plain)
        else:
            values.append(None if plain == options.null_value else plain)
        at += 1
        if ends:
            return values, min(at, len(text))


def _quoted(text: str, at: int, options: ReaderOptions) -> tuple[str, int, bool]:
    """(the value, where it ends, whether its quote is closed)."""
    quote, escape = options.quote, options.escape
    out: list[str] = []
    while at < len(text):
        character = text[at]
        if escape and escape != quote and character == escape and text.startswith(quote, at + 1):
            out.append(quote)
            at += 2
        elif character != quote:
            out.append(character)
            at += 1
        elif text.startswith(quote, at + 1):
            out.append(quote)
            at += 2
        else:
            return "".join(out), at + 1, True
    return "".join(out), at, False
