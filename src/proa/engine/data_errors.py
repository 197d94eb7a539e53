"""What an engine says of rows that it cannot compute, under Spark's names for it.

Such an error is in the data: another try fails as well. Engines say it in words of their own, and
some as if they themselves had failed.

Apart because it is a table of conditions that grows with Spark's.
"""

from __future__ import annotations

import re

from proa.errors import DataError, one_line

_CONDITIONS = (
    (
        r"Cannot cast (?:string|value) .* to value of|[Ii]nvalid (?:timestamp|date): ",
        "CAST_INVALID_INPUT",
    ),
    (r"Can't cast value .* to type", "CAST_OVERFLOW"),
    (
        r"too large to store in a Decimal|too small to store in a Decimal",
        "NUMERIC_VALUE_OUT_OF_RANGE",
    ),
    (r"[Dd]ivide by zero|[Dd]ivision by zero", "DIVIDE_BY_ZERO"),
    (r"[Rr]emainder by zero", "REMAINDER_BY_ZERO"),
    (r"[Aa]rithmetic overflow|Overflow happened|[Ii]nteger overflow", "ARITHMETIC_OVERFLOW"),
    (r"element_at: the index is out of bounds", "INVALID_ARRAY_INDEX_IN_ELEMENT_AT"),
)
_SPARKS = re.compile(
    r"\[((?:CAST_INVALID_INPUT|CAST_OVERFLOW|NUMERIC_VALUE_OUT_OF_RANGE|DIVIDE_BY_ZERO"
    r"|REMAINDER_BY_ZERO|ARITHMETIC_OVERFLOW|INVALID_ARRAY_INDEX|CANNOT_PARSE_TIMESTAMP)[A-Z_.]*)\]"
)


def data_error(message: str) -> DataError | None:
    """The DataError that an engine's message stands for. Returns None if it is about something else."""
    condition = _condition(message)
    if condition is None:
        return None
    said = re.sub(r"^(?:[A-Za-z]+ error: |\[[A-Z_.]+\] )+", "", one_line(message)).rstrip(".")
    return DataError(
        f"a row cannot be computed: {said}; mend the data, or let the query yield NULL for it"
        " (try_cast, try_divide, try_element_at)",
        condition=condition,
    )


def _condition(message: str) -> str | None:
    spark = _SPARKS.search(message)
    if spark is not None:
        return spark[1]
    return next((name for pattern, name in _CONDITIONS if re.search(pattern, message)), None)
