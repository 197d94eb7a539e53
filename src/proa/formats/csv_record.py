"""CSV records, one character at a time, as Spark takes them apart."""

from __future__ import annotations

from collections.abc import Iterator

from proa.formats.reader_options import ReaderOptions

WHITE = "".join(map(chr, range(33)))
"""What Spark's parser takes for white space."""


def records(text: str, options: ReaderOptions) -> Iterator[tuple[list[str | None] | None, int]]:
    """(the values of a record, where the next one begins); blank lines are left out.

    The values are None when the record ends within quotes, or has too many of them. A value is None when there is no text,
    or when it is the null value.
    """
    if not options.quote or options.quote not in text:
        yield from _unquoted_records(text, options)
        return
    at = 0
    while at < len(text):
        if text.startswith(("\n", "\r\n"), at):
            at += 1 if text[at] == "\n" else 2
            continue
        values, at = _record(text, at, options)
        yield values, at


def _unquoted_records(
    text: str, options: ReaderOptions
) -> Iterator[tuple[list[str | None] | None, int]]:
    at = 0
    for line in text.split("\n"):
        at = min(at + len(line) + 1, len(text))
        plain = line.removesuffix("\r")
        if plain:
            if plain.count(options.delimiter) >= options.max_columns:
                yield None, at
                continue
            values = plain.split(options.delimiter)
            yield [_plain(value, options) for value in values], at


def _record(text: str, at: int, options: ReaderOptions) -> tuple[list[str | None] | None, int]:
    values: list[str | None] = []
    while True:
        at = _value_begins(text, at, options)
        quoted = bool(options.quote) and text.startswith(options.quote, at)
        value, at, closed = _read_quoted(text, at + 1, options) if quoted else ("", at, True)
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
            value += plain.lstrip(WHITE) if options.trim_right else plain
            value = value or options.empty_value
            values.append(None if value == options.null_value else value)
        else:
            values.append(_plain(plain, options))
        at += 1
        if ends:
            return values, min(at, len(text))
        if len(values) >= options.max_columns:
            return None, _line_end(text, at)


def _line_end(text: str, at: int) -> int:
    return text.find("\n", at) + 1 or len(text)


def _value_begins(text: str, at: int, options: ReaderOptions) -> int:
    """Where the value at `at` begins, when white space before it does not count."""
    if options.trim_left:
        while at < len(text) and text[at] in WHITE and text[at] not in {options.delimiter, "\n"}:
            at += 1
    return at


def _plain(value: str, options: ReaderOptions) -> str | None:
    """A value that is not in quotes."""
    if options.trim_left:
        value = value.lstrip(WHITE)
    if options.trim_right:
        value = value.rstrip(WHITE)
    return None if value in {"", options.null_value} else value


def _read_quoted(text: str, at: int, options: ReaderOptions) -> tuple[str, int, bool]:
    """(the value, where it ends, whether its quote is closed)."""
    quote, escape = options.quote, options.escape
    pieces: list[str] = []
    while True:
        end = text.find(quote, at)
        if end < 0:
            return "".join([*pieces, text[at:]]), len(text), False
        if escape and escape != quote and end > at and text[end - 1] == escape:
            pieces += [text[at : end - 1], quote]
            at = end + 1
        elif text.startswith(quote, end + 1):
            pieces += [text[at:end], quote]
            at = end + 2
        else:
            return "".join([*pieces, text[at:end]]), end + 1, True
