"""What is done about a row that breaks an expectation: the word that declaring and writing share."""

from __future__ import annotations

from enum import StrEnum


class Violation(StrEnum):
    """What happens to a row that breaks an expectation."""

    WARN = "warn"
    DROP = "drop"
    FAIL = "fail"
