"""An object of a store as a file of Python's.

Apart because it makes a file of a range reader, for libraries that want one.
"""

from __future__ import annotations

import io
from typing import Any


class Seekable(io.RawIOBase):
    """Reads through what the library hands out, which lacks some of a file's verbs."""

    def __init__(self, reader: Any) -> None:
        super().__init__()
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def readinto(self, buffer: Any) -> int:
        data = bytes(self._reader.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)
