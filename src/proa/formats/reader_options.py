"""What a reader of files needs to know: how the bytes are written, and what to do with dirt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from proa.formats.problems import ProblemKind

RESCUED_COLUMN = "_rescued_data"
CORRUPT_COLUMN = "_corrupt_record"
METADATA_NAME = "_metadata"
"""The column that Spark gives every file's rows."""


MAX_RECORD = 128 << 20
"""Bytes; a line, document, row or value that is larger is more likely a mistake than a record."""
MAX_COLUMNS = 20_480
"""Spark's default."""
CELLS = 1 << 25
"""Values of a table that is made at once, those that are missing included."""

TYPED_FORMATS = frozenset({"avro", "orc", "parquet"})
"""Formats whose files hold columns and say of which types."""
WHOLE_FORMATS = frozenset({"binaryfile", "text"})
"""Formats whose columns are always the same."""


class Evolution(StrEnum):
    """What happens when a file has a field that the schema lacks."""

    ADD = "addNewColumns"
    WIDEN = "addNewColumnsWithTypeWidening"
    RESCUE = "rescue"
    FAIL = "failOnNewColumns"
    NONE = "none"

    @property
    def stops(self) -> bool:
        """Whether a new field stops the batch that meets it."""
        return self in {Evolution.ADD, Evolution.WIDEN, Evolution.FAIL}


class Mode(StrEnum):
    """What happens to a record that cannot be parsed."""

    PERMISSIVE = "PERMISSIVE"
    DROP = "DROPMALFORMED"
    FAIL = "FAILFAST"


@dataclass(frozen=True)
class ReaderOptions:
    """What the readers on the engine's workers need to know."""

    format: str
    mode: Mode = Mode.PERMISSIVE
    evolution: Evolution = Evolution.ADD
    rescued_column: str | None = RESCUED_COLUMN
    """The column that takes what does not fit; None when nobody wants it."""
    corrupt_column: str = CORRUPT_COLUMN
    case_sensitive: bool = True
    ignore_corrupt: bool = False
    ignore_missing: bool = False
    bad_records_path: str = ""
    """The folder that bad records and bad files are written to; empty for nowhere."""
    allow_overwrites: bool = False
    multi_line: bool = False
    encoding: str = "utf-8"
    line_separator: str = "\n"
    """What ends a line; "\\r\\n" needs no mention."""
    any_line_end: bool = True
    """The user named no `line_separator`: a carriage return alone ends a line too, as in Spark."""
    header: bool = True
    """CSV: whether the first line names the columns."""
    by_position: bool = False
    """CSV: values fill the schema's columns in their order, whatever the first line names them."""
    check_header: bool = False
    """CSV: with `by_position`, a file whose first line does not name the schema's columns is not read."""
    delimiter: str = ","
    quote: str = '"'
    escape: str = "\\"
    comment: str = ""
    null_value: str = ""
    """CSV: this text is NULL too, in quotes or not. No text at all always is."""
    empty_value: str = ""
    """CSV: what stands for `""`."""
    trim_left: bool = False
    """CSV: leave out the white space before a value that is not in quotes."""
    trim_right: bool = False
    whole_text: bool = False
    max_record: int = MAX_RECORD
    """Bytes of one record, unpacked; a file that has a larger one is not read."""
    max_columns: int = MAX_COLUMNS
    """CSV: values of one record."""
    avro_schema: str = ""
    """Avro: the schema, as JSON, that files are read as; theirs when it is empty."""
    pinned: frozenset[str] = frozenset()
    """Columns, in lower case, whose types hints pin: they are never widened."""
    partitions: frozenset[str] = frozenset()
    """Columns, in lower case, that folders' names fill: fields of the same name are not new."""
    date_format: str | None = None
    timestamp_format: str | None = None

    @property
    def passes_over_columns(self) -> bool:
        """Whether values of columns that nobody reads make no difference, so that none is looked at."""
        notes = self.rescued_column is not None or bool(self.bad_records_path)
        return (
            self.format == "json"
            and self.mode is Mode.PERMISSIVE
            and self.case_sensitive
            and not self.evolution.stops
            and not notes
        )

    def may_be_column(self, name: str) -> bool:
        """Whether a new name in the files can become a column. What cannot is rescued."""
        reserved = {(self.rescued_column or "").lower(), self.corrupt_column.lower(), METADATA_NAME}
        return "\0" not in name and name.lower() not in reserved

    def ignores(self, kind: ProblemKind) -> bool:
        """Whether a file with such a problem is left out."""
        if kind is ProblemKind.MISSING:
            return self.ignore_missing or bool(self.bad_records_path)
        wanted = self.ignore_corrupt or bool(self.bad_records_path)
        return kind in {ProblemKind.CORRUPT, ProblemKind.LARGE} and wanted
