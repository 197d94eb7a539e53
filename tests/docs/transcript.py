"""Playing a guide: its files are written, its commands are run, its outputs are compared.

A `console` block holds commands after `$ ` and what they print; `...` stands for anything, and a
command without output below it may print what it likes. A remark `# exit code 1` behind a command
says how it ends. Blocks of any other language are not played, except those that are a file: a
comment in the first line names it (`# orders.py`, `-- orders.sql`), or the paragraph above ends
with its name and a colon (``... `data/orders.json`:``).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:`(?P<name>[\w./=-]+\.\w+)`:\n\n)?^```(?P<language>\w+)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"^(?:#|--) (\S+\.(?:py|sql|yml))\n")


@dataclass(frozen=True)
class File:
    path: str
    content: str


@dataclass(frozen=True)
class Command:
    line: str
    output: str = ""
    """What the guide says is printed; empty when it does not say."""
    exit_code: int = 0

    @property
    def words(self) -> list[str]:
        return shlex.split(self.line)

    def matches(self, printed: str) -> bool:
        """Whether the guide's output is in what was printed, spaces and line ends aside."""
        pieces = [re.escape(_squeeze(piece)) for piece in self.output.split("...")]
        return re.search(r".*".join(pieces), _squeeze(printed), re.DOTALL) is not None


def read(guide: Path) -> list[File | Command]:
    """The steps of a guide, in order."""
    steps: list[File | Command] = []
    for block in _BLOCK.finditer(guide.read_text(encoding="utf-8")):
        named, language, body = block.group("name", "language", "body")
        if language == "console":
            steps.extend(commands(body))
        elif named:
            steps.append(File(named, body))
        elif match := _FILE.match(body):
            steps.append(File(match.group(1), body))
    return steps


def commands(body: str) -> list[Command]:
    """The commands of a console block."""
    found = []
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        line, _, remark = line.partition("  #")
        code = re.search(r"exit code (\d+)", remark)
        *before, last = line.split(" && ")
        found += [Command(one.strip()) for one in before]
        found.append(Command(last.strip(), output.strip(), int(code.group(1)) if code else 0))
    return found


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
