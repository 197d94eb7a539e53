"""What could not be read of one part of a file, written aside (`badRecordsPath`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime

from proa.errors import ProaError
from proa.formats.problems import Problem, ProblemKind, ReadError
from proa.formats.source import Part
from proa.storage import Store

_FILE = 16 << 20
"""Characters; more records are several files."""


class BadRecords:
    """Collects the bad records of one part, and writes them below the user's folder.

    Names come from the part alone: a batch that is computed again writes the same files again.
    """

    def __init__(self, folder: str, part: Part, storage: Mapping[str, str]) -> None:
        self._folder = folder
        self._part = part
        self._storage = storage
        self._lines: list[str] = []
        self._size = 0
        self._files = 0

    def note(self, record: str, reason: str) -> None:
        """Take one record that is left out of the rows."""
        line = _line(path=self._part.path, record=record, reason=reason)
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _FILE:
            self.write()

    def write(self) -> None:
        """Write the records that were taken since the last time. ReadError if that fails."""
        if self._lines:
            self._put(f"bad_records/{self._name()}-{self._files}.json", "".join(self._lines))
            self._files += 1
            self._lines, self._size = [], 0

    def write_file(self, problem: Problem) -> None:
        """Write that the file itself is left out. ReadError if that fails."""
        line = _line(path=self._part.path, reason=str(problem.error()))
        self._put(f"bad_files/{self._name()}.json", line)

    def _name(self) -> str:
        key = f"{self._part.path}\0{self._part.start}"
        return "part-" + hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:20]

    def _put(self, name: str, text: str) -> None:
        modified = datetime.fromtimestamp(self._part.modified // 1_000_000, UTC)
        try:
            store = Store.open(self._folder, self._storage)
            store.put(f"{modified:%Y%m%dT%H%M%S}/{name}", text.encode("utf-8", "surrogatepass"))
        except ProaError as error:
            detail = f"what is bad in it cannot be written below {self._folder!r}: {error}"
            problem = Problem(ProblemKind.UNAVAILABLE, self._part.path, detail)
            raise ReadError(problem) from error


def _line(**values: str) -> str:
    return json.dumps(values, ensure_ascii=False) + "\n"
