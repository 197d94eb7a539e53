"""A finding: why two regions that read the same files could hold different rows; and verdicts on findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from proa.errors import SourceLocation
from proa.settings import AcceptedFinding


class Severity(StrEnum):
    """How sure the difference is."""

    ERROR = "error"
    """The regions will differ."""
    WARN = "warn"
    """The regions may differ."""


@dataclass(frozen=True)
class Rule:
    """A family of findings."""

    code: str
    severity: Severity
    why: str
    remedy: str


@dataclass(frozen=True)
class Finding:
    """One place where a pipeline depends on where and when it runs."""

    code: str
    severity: Severity
    dataset: str
    column: str | None
    """The column that the expression becomes; None in a condition, a key or a whole operator."""
    expression: str
    location: SourceLocation
    why: str
    remedy: str


_PLACE = "a row's place: _metadata.shipment, _metadata.file_index, _metadata.row_index"

CLOCK = Rule(
    "CLOCK",
    Severity.ERROR,
    "two regions compute it at different times",
    "take the time from the data: an event's own timestamp, or when its file was shipped,"
    " _metadata.shipped_at",
)
RANDOM = Rule(
    "RANDOM",
    Severity.ERROR,
    "its value depends on chance, or on how rows are spread over partitions",
    "derive it from the row: for example sha2(concat_ws('|', key columns), 256)",
)
NONDETERMINISTIC_UDF = Rule(
    "NONDETERMINISTIC_UDF",
    Severity.ERROR,
    "the function's answer depends on more than its arguments",
    "compute from the row's columns only, or land the answer as a file and join it",
)
ORDER_DEPENDENT_AGGREGATE = Rule(
    "ORDER_DEPENDENT_AGGREGATE",
    Severity.WARN,
    "its value depends on the order in which rows arrive, which differs between regions",
    "name the order: max_by(value, key) or min_by(value, key) for one value,"
    f" sort_array(...) around a list; a key that no two rows share is {_PLACE}",
)
TIES_IN_WINDOW = Rule(
    "TIES_IN_WINDOW",
    Severity.ERROR,
    "rows that are equal in the window's order are told apart by chance",
    f"end the window's ORDER BY with a column that is unique, such as the event's id, or with {_PLACE}",
)
LIMIT_WITHOUT_TOTAL_ORDER = Rule(
    "LIMIT_WITHOUT_TOTAL_ORDER",
    Severity.ERROR,
    "which rows are among the first is left to chance",
    f"sort by columns that no two rows share before limiting; files give {_PLACE}",
)
DUPLICATES_BY_SUBSET = Rule(
    "DUPLICATES_BY_SUBSET",
    Severity.ERROR,
    "which of the rows with equal keys stays depends on the order in which they arrive",
    "choose the row: row_number() over (partition by the keys order by a unique column) = 1,"
    f" or max_by; files give {_PLACE}",
)
REGION_METADATA = Rule(
    "REGION_METADATA",
    Severity.ERROR,
    "a file's path and modification time are the landing zone's own and differ between regions",
    "keep the part that is the same everywhere: _metadata.file_name, or"
    " regexp_extract(_metadata.file_path, '[^/]+$', 0)",
)
REGION_CONFIGURATION = Rule(
    "REGION_CONFIGURATION",
    Severity.ERROR,
    "the value comes from configuration that each region sets for itself",
    "leave it out of the data",
)
ENVIRONMENT = Rule(
    "ENVIRONMENT",
    Severity.ERROR,
    "it says where and by whom the query is computed",
    "leave it out of the data, or give the value by the pipeline's configuration",
)
FLOAT_SUM = Rule(
    "FLOAT_SUM",
    Severity.WARN,
    "a sum of floats depends on the order of its terms in the last digits",
    "sum decimals: cast the column to DECIMAL first",
)
EXTERNAL_LOOKUP = Rule(
    "EXTERNAL_LOOKUP",
    Severity.ERROR,
    "what another system answers may have changed before the other region asks",
    "land its data as files, and read those with cloudFiles",
)
UNTRACKED_FILES = Rule(
    "UNTRACKED_FILES",
    Severity.WARN,
    "the files are not tracked: each region sees what its own path holds at that moment",
    "ship them as a source and read them with cloudFiles or read_files",
)
FILES_BY_CLOCK = Rule(
    "FILES_BY_CLOCK",
    Severity.ERROR,
    "which files are read depends on when the region starts, or on its clock",
    "name a fixed time with modifiedAfter: a file of a manifest has the same time in each region",
)
INFERRED_TYPES = Rule(
    "INFERRED_TYPES",
    Severity.WARN,
    "in a folder without a manifest the columns get their types from the files that happen to be"
    " there at the first start",
    "pin the types with schemaHints or a schema, or ship the files: a manifest gives their order",
)
STREAM_STATIC_JOIN = Rule(
    "STREAM_STATIC_JOIN",
    Severity.WARN,
    "a batch meets the table as it is at that moment, and regions cut their batches differently",
    "join in a materialized view, or accept it when the table does not change",
)
ONCE_FLOW = Rule(
    "ONCE_FLOW",
    Severity.WARN,
    "a flow that runs once reads what is there at that moment, which differs between regions",
    "make it a streaming flow, or accept it when its source is complete before the first run",
)
VERSIONS_OF_TABLES = Rule(
    "VERSIONS_OF_TABLES",
    Severity.WARN,
    "which versions a table has, and what each of them changed, differs between regions",
    "apply the change feed to a table of its own (AUTO CDC) and read that, or accept it",
)

SEQUENCE_TIES = Rule(
    "SEQUENCE_TIES",
    Severity.WARN,
    "several different changes of one key have the same sequence, and nothing in the data says which"
    " came last: in each region a deletion holds, else the greatest values",
    f"order the changes fully: sequence_by=struct(sequence, ...) with {_PLACE}",
)
"""Seen in rows only, when changes are applied."""

RULES: tuple[Rule, ...] = (
    CLOCK,
    RANDOM,
    NONDETERMINISTIC_UDF,
    ORDER_DEPENDENT_AGGREGATE,
    TIES_IN_WINDOW,
    LIMIT_WITHOUT_TOTAL_ORDER,
    DUPLICATES_BY_SUBSET,
    REGION_METADATA,
    REGION_CONFIGURATION,
    ENVIRONMENT,
    FLOAT_SUM,
    EXTERNAL_LOOKUP,
    UNTRACKED_FILES,
    FILES_BY_CLOCK,
    INFERRED_TYPES,
    STREAM_STATIC_JOIN,
    ONCE_FLOW,
    VERSIONS_OF_TABLES,
    SEQUENCE_TIES,
)


@dataclass(frozen=True)
class Verdicts:
    """Findings sorted by what they mean for this project."""

    errors: tuple[Finding, ...]
    """These forbid to run."""
    warnings: tuple[Finding, ...]
    accepted: tuple[tuple[Finding, str], ...]
    """With the team's reason."""
    unused: tuple[AcceptedFinding, ...]
    """Entries of `accept` that accept nothing."""

    @property
    def names(self) -> tuple[str, ...]:
        """The findings that nobody has accepted, as `CLOCK in gold`, each once."""
        open_ones = (*self.errors, *self.warnings)
        return tuple(sorted({f"{finding.code} in {finding.dataset}" for finding in open_ones}))


def judge(
    found: Sequence[Finding], dr_safety: str, accept: Sequence[AcceptedFinding] = ()
) -> Verdicts:
    """Sort findings by the project's settings.

    With `dr_safety` "error", findings of severity error are errors and the others warnings; with
    "warn", all are warnings; with "off", none count.
    """
    errors, warnings, accepted = [], [], []
    used: set[str] = set()
    reasons = {entry.finding.casefold(): entry for entry in accept}
    for finding in found:
        names = (f"{finding.code}:{finding.dataset}".casefold(), finding.code.casefold())
        entry = next((reasons[name] for name in names if name in reasons), None)
        if entry is not None:
            used.add(entry.finding)
            accepted.append((finding, entry.reason))
        elif dr_safety == "error" and finding.severity is Severity.ERROR:
            errors.append(finding)
        elif dr_safety != "off":
            warnings.append(finding)
    used |= {e.finding for e in accept if e.finding.partition(":")[0].upper() == SEQUENCE_TIES.code}
    unused = tuple(entry for entry in accept if entry.finding not in used)
    return Verdicts(tuple(errors), tuple(warnings), tuple(accepted), unused)
