"""Writes docs/reference/ from the code: commands, settings, options, errors, steps.

`make docs` runs it; a test asserts that the committed pages are what it writes. A page without
words for something in the code, or with words for something that is gone, is refused.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

import reference_words as words
import typer
from pydantic import BaseModel

from proa import settings
from proa.autoloader import options
from proa.cli.main import app
from proa.formats import reader_options
from proa.steps import Step

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "proa"
FOLDER = ROOT / "docs" / "reference"
SERVERS = {SOURCE / "http", SOURCE / "region", SOURCE / "gateway"}
"""The server's errors are Databricks' own; its page of the API has them."""


@cache
def pages() -> dict[str, str]:
    """Every generated page, by its name."""
    return {
        "commands.md": commands(),
        "settings.md": settings_page(),
        "failover-table.md": failover_table_page(),
        "auto-loader-options.md": auto_loader_options(),
        "errors.md": errors(),
        "steps.md": steps(),
        "engine-functions.md": engine_functions(),
    }


def main() -> None:
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(f"wrote docs/reference/{name}")


# -- commands ---------------------------------------------------------------------------------------


def commands() -> str:
    parts = [
        "# Commands",
        (
            "Every command has `--help`. Where a command takes `--json`, standard output is one JSON"
            " document and nothing else; progress and errors go to standard error."
        ),
        (
            "| exit code | meaning |\n|---|---|\n"
            "| 0 | it worked; the answer is yes |\n"
            "| 1 | it ran, and the answer is no |\n"
            "| 2 | the command, a setting or the pipeline is wrong |\n"
            "| 3 | a store, an engine or a region did not answer; try again |\n"
            "| 130 | interrupted |\n"
            "| 141 | whoever reads the output stopped reading, as `head` does |"
        ),
    ]
    for name, command in command_tree():
        parts += [f"## proa {name}", *_described(command.help), _parameters(command.params)]
    return _page(parts)


def command_tree() -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its name as it is typed behind `proa`."""

    def walk(group: Any, above: str) -> Iterator[tuple[str, Any]]:
        for name, command in sorted(group.commands.items()):
            if hasattr(command, "commands"):
                if command.invoke_without_command:
                    yield above + name, command
                yield from walk(command, f"{above}{name} ")
            else:
                yield above + name, command

    yield from walk(typer.main.get_command(app), "")


def _described(help_: str) -> Iterator[str]:
    """A command's docstring: paragraphs, its exit codes as a list, its example as a block."""
    for paragraph in inspect.cleandoc(help_).split("\n\n"):
        text = " ".join(paragraph.split())
        if text.startswith("Example: "):
            yield f"```sh\n{text.removeprefix('Example: ')}\n```"
        elif text.startswith("Exit codes: "):
            codes = text.removeprefix("Exit codes: ").rstrip(".").split("; ")
            yield "Exit codes:\n\n" + "\n".join(f"* {code}" for code in codes)
        else:
            yield text


def _parameters(parameters: Sequence[Any]) -> str:
    rows = []
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            name = (parameter.metavar or parameter.name).upper()
        else:
            name = "/".join((*parameter.opts, *parameter.secondary_opts))
            if not parameter.is_flag:
                name += f" {parameter.metavar or parameter.bare_type().upper()}"
        said = (parameter.help or "").rstrip(".")
        default = parameter.default
        if parameter.required:
            said += "; required"
        elif default not in (None, False, "", ()) and parameter.show_default:
            said += f"; default {default}"
        rows.append((f"`{name}`", said))
    return _table(("", ""), rows)


# -- the failover table -----------------------------------------------------------------------------


def failover_table_page() -> str:
    from proa.recovery import failover_table

    rows = [
        f"| {row.phase} | {row.event} | {row.next} | {row.sentence} |"
        for row in failover_table.TABLE
    ]
    actions = [f"| {phase} | {action} |" for phase, action in failover_table.ACTIONS.items()]
    return "\n".join(
        [
            "# The failover table",
            "",
            "What may follow what, when the active region changes. Everything else is refused.",
            "",
            "```mermaid",
            failover_table.diagram(),
            "```",
            "",
            "| phase | what happens | next phase | what the history says |",
            "|---|---|---|---|",
            *rows,
            "",
            "What is done in a phase, again and again until it is done:",
            "",
            "| phase | action |",
            "|---|---|",
            *actions,
            "",
        ]
    )


# -- settings ---------------------------------------------------------------------------------------


def settings_page() -> str:
    parts = [
        "# Settings",
        "## proa.yml",
        (
            "Regions, sources and what the team has agreed on. Relative locations start from the"
            " file's folder. `${NAME}` in any value is replaced from the environment; an unknown key"
            " is an error."
        ),
    ]
    for place, model in _models():
        rows = []
        for name, field in model.model_fields.items():
            default = "required" if field.is_required() else _default(field)
            rows.append((f"`{name}`", default, _documented(model)[name]))
        title = f"### {place}" if place else "### At the top"
        parts += [title, _doc(model), _table(("key", "default", "meaning"), rows)]
    parts += [
        (
            "Everything else in `options` goes to the object-store library as it is: the keys of"
            " S3 (`aws_...`), Google Cloud Storage (`google_...`) and Azure (`azure_...`), such as"
            " `aws_endpoint_url`, `aws_access_key_id`, `aws_secret_access_key`, `aws_region`,"
            " `aws_allow_http`. What is left out comes from the environment variables of the same"
            " names in capitals."
        ),
        "## spark-pipeline.yml",
        (
            "Apache's file, described in [declaring](declaring.md#spark-pipelineyml): `name`,"
            " `storage`, `catalog`, `database` (or `schema`), `configuration`, `libraries`."
        ),
        "## Configuration and properties",
        (
            "Any key may stand in `configuration`: Python reads it with `spark.conf.get`, SQL with"
            " `${key}`. A region's `configuration` in `proa.yml` wins over the pipeline's. These keys"
            " have an effect of their own:"
        ),
        _table(
            ("key", "where", "effect"),
            [(f"`{key}`", place, effect) for key, (place, effect) in _configuration()],
        ),
        _table(("where", "how"), list(words.PLACES.items())),
        "Table properties are written into the Delta table when it is created.",
    ]
    return _page(parts)


def _models() -> list[tuple[str, type[BaseModel]]]:
    return [
        ("", settings.ProjectSettings),
        ("regions.NAME", settings.RegionSettings),
        ("regions.NAME.engine", settings.EngineSettings),
        ("regions.NAME.server", settings.ServerSettings),
        ("regions.NAME.api", settings.ApiSettings),
        ("sources.NAME", settings.SourceSettings),
        ("event_time", settings.EventTimeSettings),
        ("verify", settings.VerifySettings),
        ("recovery", settings.RecoverySettings),
        ("recovery.control", settings.ControlSettings),
        ("recovery.commands", settings.CommandSettings),
        ("recovery.consumers (profile)", settings.ProfileConsumerSettings),
        ("recovery.consumers (unity)", settings.UnityConsumerSettings),
        ("gateway", settings.GatewaySettings),
        ("accept", settings.AcceptedFinding),
    ]


def _documented(model: type[BaseModel]) -> dict[str, str]:
    """What stands under each field, or what its own type says about itself."""
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    name = ""
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
            found[name] = _nested(model.model_fields[name].annotation)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
            found[name] = " ".join(str(node.value.value).split())
        else:
            name = ""
    return found


def _nested(annotation: Any) -> str:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _doc(annotation)
    values = get_args(annotation)
    for part in values:
        if isinstance(part, type) and issubclass(part, BaseModel):
            return _doc(part)
    if values and all(isinstance(value, str) for value in values):
        return "one of " + ", ".join(f"`{value}`" for value in values)
    return ""


def _default(field: Any) -> str:
    value = field.default_factory() if field.default_factory else field.default
    if value is None or value in ({}, ()) or isinstance(value, BaseModel):
        return "-"
    return f"`{value}`"


def _configuration() -> Iterator[tuple[str, tuple[str, str]]]:
    there = {value for value in _strings() if re.fullmatch(r"pipelines\.\S+\w", value)}
    there -= {value for value in there if value.endswith("_id")}  # columns of the server's state
    _same(there | {"landing_zone"}, words.CONFIGURATION, "key of a pipeline")
    yield from words.CONFIGURATION.items()


# -- the Auto Loader's options ----------------------------------------------------------------------


def auto_loader_options() -> str:
    defaults = effective_options()
    said = {name for group in words.OPTIONS.values() for name in group}
    _same(defaults.keys() - words.REFUSED_OPTIONS.keys(), said, "option of Auto Loader")
    parts = [
        "# Options of Auto Loader",
        (
            'For `format("cloudFiles")`, `read_files` and `cloud_files`. Each may be written with or'
            " without `cloudFiles.` before it, in any case. An option that does not exist is an error"
            " that suggests the nearest name. The [guide](../guide/auto-loader.md) shows them at work."
        ),
    ]
    for title, group in words.OPTIONS.items():
        rows = [(f"`{name}`", defaults[name], meaning) for name, meaning in group.items()]
        parts += [f"## {title}", _table(("option", "default", "meaning"), rows)]
    parts += [
        "## Refused by name",
        _table(("option", "why"), [(f"`{k}`", v) for k, v in words.REFUSED_OPTIONS.items()]),
        "## Taken with one value only",
        (
            "Options of Spark's parsers that change rows. Each is taken with the value that says what"
            " happens anyway, and refused by name with any other:"
        ),
        _table(
            ("option", "taken with"),
            [
                (f"`{name}`", ", ".join(f"`{value}`" for value in only))
                for name, only in sorted(options.ONLY.items(), key=lambda item: item[0].lower())
                if only
            ],
        ),
        "Refused with every value: "
        + ", ".join(
            f"`{name}`"
            for name, only in options.ONLY.items()
            if not only and name not in words.REFUSED_OPTIONS
        )
        + ".",
        "## Taken, without effect",
        (
            "Options that change no row: how Databricks finds files (Proa lists, with the same"
            " result), where it keeps schemas, and limits of Spark's parsers that this one does not"
            " have. They are accepted so that a pipeline runs as it is:"
        ),
        ", ".join(
            f"`{name}`"
            for name in sorted(options.KNOWN, key=str.lower)
            if name not in defaults
            and name not in words.REFUSED_OPTIONS
            and name not in options.ONLY
            and not name.startswith("proa.")
        )
        + ".",
    ]
    return _page(parts)


def effective_options() -> dict[str, str]:
    """The options that the code looks up, with their defaults as a user would write them."""
    known = {name.lower(): name for name in options.KNOWN}
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(inspect.getsource(options))):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) not in _LOOKS_UP:
            continue
        for at, argument in enumerate(node.args[:2]):
            if isinstance(argument, ast.Constant) and str(argument.value).lower() in known:
                name = known[str(argument.value).lower()]
                if not name.startswith("proa."):
                    found.setdefault(name, _option_default(node.args[at + 1 :]))
                break
    return found


_LOOKS_UP = {
    "_character",
    "get.boolean",
    "get.choice",
    "get.number",
    "get.optional",
    "get.text",
    "values.get",
}


def _option_default(after: Sequence[ast.expr]) -> str:
    """The default, as it stands behind an option's name."""
    given = after[0] if after else None
    if isinstance(given, ast.Call):  # another name's value is the default
        return _option_default(given.args[-1:])
    value = given.value if isinstance(given, ast.Constant) else None
    if isinstance(given, ast.Name):
        value = getattr(reader_options, given.id, getattr(options, given.id, None))
    elif isinstance(given, ast.Attribute) and isinstance(given.value, ast.Attribute):
        value = getattr(reader_options.Mode, given.value.attr).value
    if isinstance(value, bool):
        value = str(value).lower()
    if value in {name.lower() for name in options.KNOWN}:  # looked up under another name
        value = None
    shown = str(value).replace("\n", "\\n") if isinstance(value, (str, int)) else ""
    return f"`{shown}`" if shown else "-"


# -- errors -----------------------------------------------------------------------------------------


def errors() -> str:
    said = {name for group in words.CONDITIONS.values() for name in group}
    raised = conditions()
    missing = {name for name in raised if name not in said and name.partition(".")[0] not in said}
    gone = {name for name in said if not _occurs(name, raised)}
    if missing or gone:
        sys.exit(
            f"tools/reference_words.py lacks {sorted(missing)} or has too many: {sorted(gone)}"
        )
    parts = [
        "# Errors",
        (
            "An error is a sentence: what happened, to what, and what to do now. Mistakes in a"
            " pipeline's source begin with their condition and end with file and line. The condition"
            " is the machine's name; where Apache Spark or Databricks has one, it is theirs. In Python it"
            " is the error's `condition`. What makes two regions differ is no error but a"
            " [finding](findings.md); the server of a region answers with Databricks' [error codes](api.md)."
        ),
        (
            "| kind | what to do | exit code |\n|---|---|---|\n"
            "| UserError: PipelineError, SettingsError, DataError | mend the input; it is not tried"
            " again | 2, or 1 when an update had begun |\n"
            "| ConflictError | it is looked at again and tried again | 1 |\n"
            "| UnavailableError, UnknownOutcome | try again | 3 |"
        ),
    ]
    for title, group in words.CONDITIONS.items():
        rows = [(f"`{name}`", meaning) for name, meaning in group.items()]
        parts += [f"## {title}", _table(("condition", "meaning"), rows)]
    return _page(parts)


def conditions() -> set[str]:
    """The conditions of all errors that Proa raises outside of the server."""
    trees = [tree for path, tree in _trees().items() if SERVERS.isdisjoint(path.parents)]
    takers = {
        node.name: [argument.arg for argument in node.args.args if argument.arg != "self"].index(
            "condition"
        )
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and "condition" in [argument.arg for argument in node.args.args]
    }
    found: set[str] = set()
    for tree in trees:
        names = {
            node.targets[0].id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "condition":
                found |= set(_texts(node.value, names))
            elif isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                at = takers.get(called, len(node.args))
                found |= {text for part in node.args[at : at + 1] for text in _texts(part, names)}
            elif isinstance(node, ast.Assign) and _named(node) == "condition":
                found |= set(_texts(node.value, names))
    return {name for name in found if re.fullmatch(r"[A-Z][A-Z_]+(\.[A-Z_]+)?", name)}


def _texts(node: ast.expr, names: Mapping[str, ast.expr]) -> Iterator[str]:
    """What an expression may be, as far as it stands in the file."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Name) and node.id in names:
        yield from _texts(names[node.id], {})
    elif isinstance(node, ast.IfExp):
        yield from (*_texts(node.body, names), *_texts(node.orelse, names))
    elif isinstance(node, ast.BoolOp):
        yield from (text for value in node.values for text in _texts(value, names))
    elif isinstance(node, ast.JoinedStr):
        parts = [next(_texts(_inner(value), names), "") for value in node.values]
        yield "".join(parts).rstrip(".")


def _inner(node: ast.expr) -> ast.expr:
    return node.value if isinstance(node, ast.FormattedValue) else node


def _named(node: ast.Assign) -> str:
    target = node.targets[0]
    return target.id if isinstance(target, ast.Name) else ""


def _occurs(name: str, raised: Iterable[str]) -> bool:
    if name in raised or any(one.startswith(f"{name}.") for one in raised):
        return True
    return name in _strings()


# -- functions of the embedded engine -----------------------------------------------------------------


def engine_functions() -> str:
    """Which functions the embedded engine computes by Proa's rules, and which are refused."""
    from proa.engine.parity import parity_table as table
    from proa.engine.parity import rule_base as rules

    assert table
    made = sorted({*rules.RULES, *(name for name, _ in rules.SIGNATURES)})
    listed = json.loads((ROOT / "tools/parity_refusals.json").read_text(encoding="utf-8"))
    rows = [[f"`{name}`", what.replace("|", "\\|"), instead] for name, what, instead in listed]
    rows += [
        [f"`{name}`", "any" if "*" in types else "; ".join(f"`{text}`" for text in types), remedy]
        for name, types, remedy in table.refused_rows()
    ]
    return _page(
        [
            "# Functions of the embedded engine",
            (
                "The embedded engine answers as Apache Spark 4.2 does under `spark.sql.ansi.enabled=true`"
                " and the time zone UTC, or it refuses by name (`UNSUPPORTED_FEATURE`). An Apache Spark"
                " server (`engine: {remote: sc://host:15002}`) computes everything itself."
            ),
            (
                "Sums, averages and statistics of floating point may differ from Spark's in the last"
                " digits: both depend on the order of the rows. `percentile_approx` is exact here;"
                " `approx_count_distinct` has Spark's own error."
            ),
            (
                "`collect_set` has the order of Spark's sets (of binary values, arrays and structs another;"
                " sort them), and `DISTINCT` in `collect_list`, `array_agg` and `string_agg` keeps the first of"
                " equal values. Large floating point is written as text with the digits of Java 17."
            ),
            "## Computed by rules of Proa",
            ", ".join(f"`{name}`" for name in made),
            "## Refused",
            (
                "Also refused: patterns of dates that have something behind an optional section, or letters"
                " that Java knows and these rules do not (`B`, `c`, `e`, ...); texts read by patterns with"
                " names of days or zones; regular expressions with scripts (`\\p{IsGreek}`), `^` and `&&` in"
                " one class, and flags in the middle; `to_json` with options, and `from_json` with others than"
                " `mode` and `columnNameOfCorruptRecord`; variants; arithmetic with intervals of months."
            ),
            _table(["function", "what", "instead"], rows),
        ]
    )


# -- steps ------------------------------------------------------------------------------------------


def steps() -> str:
    _same({step.value for step in Step}, words.STEPS, "step")
    rows = [(f"`{step.value}`", words.STEPS[step.value]) for step in Step]
    return _page(
        [
            "# Steps",
            (
                "A step is a moment after which the world outside of the process has changed. Each has"
                " a name, and tests kill the process before and after each of them, or let the step"
                " happen and lose the answer, and then assert the exact rows. Nothing has to be known"
                " about them to use Proa."
            ),
            _table(("step", "afterwards"), rows),
        ]
    )


# -- Markdown ---------------------------------------------------------------------------------------


def _page(parts: Iterable[str]) -> str:
    note = "<!-- Written by tools/reference.py (`make docs`) from the code. -->"
    head, *rest = parts
    return "\n\n".join([head, note, *filter(None, rest)]) + "\n"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _doc(thing: Any) -> str:
    return " ".join((inspect.getdoc(thing) or "").split())


@cache
def _trees() -> dict[Path, ast.Module]:
    """All of the code."""
    files = sorted(SOURCE.rglob("*.py"))
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}


@cache
def _strings() -> frozenset[str]:
    """Every string that stands in the code."""
    return frozenset(
        node.value
        for tree in _trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _same(there: Iterable[str], said: Iterable[str], what: str) -> None:
    """Everything that is there has words, and nothing else has."""
    if set(there) != set(said):
        missing, gone = sorted(set(there) - set(said)), sorted(set(said) - set(there))
        sys.exit(f"tools/reference_words.py lacks a {what}: {missing}; or has too many: {gone}")


if __name__ == "__main__":
    main()
