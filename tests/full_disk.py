"""A disk that is full after so many writes: a small file system of the kernel's own, and not a story of ours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

PAGE = 4096
ROOMY = 1 << 18
"""Pages and files of a disk that has room."""
needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system")


class SmallDisk:
    """Everything below a folder. Each write of a page, or of a file's beginning, takes from what is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextmanager
    def at(cls, folder: Path) -> Iterator[Self]:
        """Put the disk in place of a folder that is empty, or not there."""
        folder.mkdir(parents=True, exist_ok=True)
        options = f"size={ROOMY * PAGE},nr_inodes={ROOMY}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
        try:
            yield cls(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)

    def leave(self, *, pages: int | None = None, files: int | None = None) -> None:
        """Let it be full after so many more pages, or so many more files and folders."""
        used = self._used()
        self._resize(
            ROOMY if pages is None else used[0] + pages,
            ROOMY if files is None else used[1] + files,
        )

    def make_room(self) -> None:
        """There is room again."""
        self._resize(ROOMY, ROOMY)

    def _used(self) -> tuple[int, int]:
        facts = os.statvfs(self.folder)
        return facts.f_blocks - facts.f_bfree, facts.f_files - facts.f_ffree

    def _resize(self, pages: int, files: int) -> None:
        options = f"remount,size={max(1, pages) * PAGE},nr_inodes={max(1, files)}"
        subprocess.run(["mount", "-o", options, self.folder], check=True)
