"""The reference is what the code says, and no document names what does not exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import reference
import yaml
from transcript import commands

from proa import settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for top in ROOT.iterdir()
    if not top.name.startswith(".") and top.name not in {"build", "dist"}
    for path in ([top] if top.suffix == ".md" else top.rglob("*.md"))
)
COMMANDS = {
    name: {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    | {"--help"}
    for name, command in reference.command_tree()
}
_YAML = re.compile(r"^```ya?ml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
documents = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_a_generated_page_is_what_the_generator_writes(name):
    written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert written == reference.pages()[name], "run `make docs` and commit what it writes"


@documents
def test_every_link_leads_somewhere(document):
    broken = []
    for target in links(document.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@documents
def test_every_command_and_option_exists(document):
    for line in command_lines(document.read_text(encoding="utf-8")):
        name, arguments = named(line)
        assert name in COMMANDS, line
        for argument in arguments:
            option = argument.partition("=")[0]
            if option.startswith("--"):
                assert option in COMMANDS[name], line


@documents
def test_every_example_of_proa_yml_is_valid(document, tmp_path):
    for body in _YAML.findall(document.read_text(encoding="utf-8")):
        if "regions:" not in body:
            continue
        data = yaml.safe_load(body)
        if "landing_zone" in str(data.get("regions")):
            path = tmp_path / settings.FILE_NAME
            path.write_text(body, encoding="utf-8")
            settings.load(path, dict.fromkeys(re.findall(r"\$\{(\w+)\}", body), "x"))


def test_every_guide_and_decision_can_be_found_from_its_index():
    for index, folder in (("README.md", "guide"), ("docs/decisions/README.md", "decisions")):
        text = (ROOT / index).read_text(encoding="utf-8")
        pages = (ROOT / "docs" / folder).glob("*.md")
        assert [
            page.name for page in pages if page.name != "README.md" and page.name not in text
        ] == []


def test_every_make_target_that_a_document_names_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        named_ = set(re.findall(r"(?:`|^\$ )make (\w+)", text, re.MULTILINE))
        assert named_ <= targets, document


def links(text: str) -> list[str]:
    """The relative links of a document; those in code are none."""
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)", prose)
    return [target for target in found if "://" not in target and not target.startswith("mailto:")]


def anchors(file: Path) -> set[str]:
    """What may stand behind `#`: the headings, as GitHub spells them."""
    prose = re.sub(r"^```.*?^```$", "", file.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one).strip().lower().replace(" ", "-") for one in headings}


def command_lines(text: str) -> list[str]:
    """Every `proa ...` in blocks of a shell and in inline code."""
    found = []
    for language, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language == "console":
            found += [command.line for command in commands(body)]
        elif language in {"sh", "text", "ini", ""}:
            for line in re.findall(r"(?:^|[\s(/=])(proa [a-z][^\n#]*)", body):
                ends = line.rfind(")") if line.count(")") > line.count("(") else len(line)
                found.append(line[:ends].rstrip(" &"))
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found += re.findall(r"`(proa [a-z][^`]*)`", prose)
    return [line for line in found if re.match(r"proa [a-z]", line)]


def named(line: str) -> tuple[str, list[str]]:
    """The command that a line runs, and the words behind it."""
    words = shlex.split(line.rstrip(".…").replace("[", "").replace("]", ""))[1:]
    names = (" ".join(words[:count]) for count in range(len(words), 0, -1))
    name = next((name for name in names if name in COMMANDS), words[0])
    return name, words[name.count(" ") + 1 :]
