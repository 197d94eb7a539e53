"""Playing a guide: its files are written, its commands are run, its outputs are compared.

In a guide, a block whose first line is a comment naming a file (`# orders.py`, `-- orders.sql`)
is that file. A `console` block holds commands after `$ ` and what they print; `...` stands for
anything, and a command without output below it may print what it likes.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^(?:#|--) (\S+\.(?:py|sql|yml|json|csv))\n")


@dataclass(frozen=True)
class File:
    path: str
    content: str


@dataclass(frozen=True)
class Command:
    arguments: tuple[str, ...]
    output: str
    """What the guide says is printed; empty when it does not say."""
    exit_code: int = 0

    def matches(self, printed: str) -> bool:
        if not self.output:
            return True
        pieces = [re.escape(_squeeze(piece)) for piece in self.output.split("...")]
        return re.search(".*".join(pieces), _squeeze(printed), re.DOTALL) is not None


def read(guide: Path) -> list[File | Command]:
    """The steps of a guide, in order."""
    steps: list[File | Command] = []
    for language, body in _BLOCK.findall(guide.read_text(encoding="utf-8")):
        if language == "console":
            steps.extend(_commands(body))
        elif match := _FILE.match(body):
            steps.append(File(match.group(1), body))
    return steps


def _commands(body: str) -> list[Command]:
    found = []
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        line, _, remark = line.partition("  #")
        code = re.search(r"exit code (\d+)", remark)
        found.append(
            Command(tuple(shlex.split(line)), output.strip(), int(code.group(1)) if code else 0)
        )
    return found


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
