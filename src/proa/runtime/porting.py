"""What of a folder of pipelines would run here, what would not, and what to do about it.

Files are loaded and planned together, as far as they go together; a file with a mistake is put aside
and the others are tried again. What the files need and nobody has given (configuration, secrets,
tables from elsewhere) is assumed to be there, and told.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pyspark.sql import functions
from pyspark.sql.types import StructType

from proa.autoloader.leaf_columns import declared_columns
from proa.autoloader.options import check_options
from proa.engine import Engine
from proa.engine.spark_functions import AGGREGATES, CLOCK, ENVIRONMENT, EXTERNAL, RANDOM
from proa.errors import DataError, PipelineError, ProaError, SourceLocation
from proa.graph import FilesLeaf
from proa.graph.analysis import analyse
from proa.graph.build import build
from proa.graph.local_paths import check_all_paths
from proa.graph.mistakes import Mistakes
from proa.graph.static_plan import StaticQueries
from proa.pipelines.definitions import Declarations, Flow
from proa.pipelines.identifiers import Namespace
from proa.pipelines.load import load_declarations
from proa.pipelines.spec import SOURCE_SUFFIXES, PipelineSpec
from proa.runtime.compile import rows_of, whole_reader

_DECLARES = {
    ".py": re.compile(
        r"^\s*(?:#\s*MAGIC\s*)?(?:import\s+dlt\b|from\s+dlt\s+import|from\s+pyspark\s+import\s+pipelines"
        r"|import\s+pyspark\.pipelines|from\s+pyspark\.pipelines\s+import)"
        r"|^\s*#\s*MAGIC\s+.*\bCREATE\b.*\b(?:LIVE|STREAMING|MATERIALIZED)\b",
        re.MULTILINE | re.IGNORECASE,
    ),
    ".sql": re.compile(
        r"\bCREATE\s+(?:OR\s+\w+\s+)?(?:PRIVATE\s+|TEMPORARY\s+)?(?:(?:STREAMING|INCREMENTAL|LIVE)\s+)+"
        r"(?:TABLE|VIEW)\b|\bCREATE\s+(?:OR\s+\w+\s+)?(?:PRIVATE\s+)?MATERIALIZED\s+VIEW\b|\bCREATE\s+FLOW\b"
        r"|\bAPPLY\s+CHANGES\s+INTO\b|\bAUTO\s+CDC\b",
        re.IGNORECASE,
    ),
    ".ipynb": re.compile(
        r"import dlt\b|from pyspark import pipelines|pyspark\.pipelines|(?:STREAMING|LIVE) TABLE"
        r"|MATERIALIZED VIEW"
    ),
}
_SKIPPED_FOLDERS = frozenset(
    {"__pycache__", "node_modules", "site-packages", "venv", "tests", "test"}
)
_BY_DECISION = frozenset(
    {
        "ATTEMPT_ANALYSIS_IN_PIPELINE_QUERY_FUNCTION",
        "DATA_SOURCE_NOT_FOUND",
        "JVM_ATTRIBUTE_NOT_SUPPORTED",
        "SESSION_MUTATION_IN_DECLARATIVE_PIPELINE",
        "UNSUPPORTED_BATCH_SOURCE",
        "UNSUPPORTED_FEATURE",
        "UNSUPPORTED_PIPELINE_SPARK_SQL_COMMAND",
        "UNSUPPORTED_STREAMING_SOURCE",
        "UNSUPPORTED_STREAMING_OPERATOR",
        "UNSUPPORTED_SPARK_SETTING",
        "UNSUPPORTED_NOTEBOOK_MAGIC",
        "CF_UNSUPPORTED_FORMAT",
        "CF_UNSUPPORTED_OPTION",
    }
)
"""Conditions without their subclasses."""
_KEY_CONDITIONS = frozenset(
    {"SQL_CONF_NOT_FOUND", "UNKNOWN_CONFIGURATION_KEY", "WIDGET_NOT_FOUND", "SECRET_NOT_FOUND"}
)
_COLUMNS_UNKNOWN = "COLUMNS_UNKNOWN"
_NO_FUNCTION = "UNRESOLVED_ROUTINE"
_NO_FILE = re.compile(r"^FileNotFoundError: | raised FileNotFoundError: ")
_IN_A_PACKAGE = "attempted relative import"
_DATABRICKS_PREFIXES = ("ai_", "h3_", "st_", "vector_", "http_")
"""Functions that Databricks has beside Spark's, by family."""
_QUOTED = re.compile(r"'([^']*)'")
_MOST_TRIES = 200
_OF_FILES = ("RUN_EMPTY_PIPELINE", "PIPELINE_DUPLICATE_IDENTIFIERS")
"""Mistakes of the choice of files, not of what stands in them."""
_VALUES_OF_OTHER_KINDS = ("1", "2000-01-01", "[]", "{}", "id bigint")
"""What is assumed of a key when the name that was assumed first does not do."""
_MOST_KEYS = 6
"""Keys of one file that are tried with values of other kinds."""


class PortingVerdict(StrEnum):
    """What becomes of a file."""

    RUNS = "runs"
    NEEDS = "needs"
    """It runs once something is given that the folder does not hold."""
    REFUSED = "refused"
    """It uses something that is refused by decision."""
    FAILS = "fails"


@dataclass(frozen=True)
class Obstacle:
    """Something that stands in a file's way."""

    verdict: PortingVerdict
    condition: str
    message: str
    """What it is and what to do."""
    line: int


@dataclass
class FileReport:
    """One file of the folder that declares datasets."""

    file: str
    """As seen from the folder."""
    pipeline: str
    datasets: list[str] = field(default_factory=list)
    obstacles: list[Obstacle] = field(default_factory=list)

    @property
    def verdict(self) -> PortingVerdict:
        """The worst of its obstacles; RUNS without any."""
        ranked = (PortingVerdict.FAILS, PortingVerdict.REFUSED, PortingVerdict.NEEDS)
        there = {obstacle.verdict for obstacle in self.obstacles}
        return next((verdict for verdict in ranked if verdict in there), PortingVerdict.RUNS)


@dataclass(frozen=True)
class _Pipeline:
    name: str
    root: Path
    files: tuple[Path, ...]
    configuration: Mapping[str, str] = field(default_factory=dict)
    catalog: str | None = None
    database: str | None = None
    assumed: tuple[str, ...] = ()
    """Keys of the configuration whose values are not known."""


@dataclass
class _Trial:
    """A mistake that may follow from an assumed value: what becomes of it with other values."""

    mistake: str
    """What it says, without the values that were assumed."""
    message: str
    keys: list[str]
    """The last one is tried now."""
    names: dict[str, str]
    """The values that were assumed first."""
    value: int = 0
    follows: str | None = None
    """The key that the mistake is known to follow from."""


def port(folder: Path, engine: Engine) -> list[FileReport]:
    """Return a report for each file below a folder that declares datasets, in the order of paths."""
    folder = folder.resolve()
    files = declaring_files(folder)
    reports: dict[Path, FileReport] = {}
    for pipeline in _pipelines(folder, files):
        _Porter(folder, pipeline, engine, reports).run()
    return [reports[file] for file in sorted(reports)]


def declaring_files(folder: Path) -> list[Path]:
    """Return the files below a folder that look like declarations of datasets, sorted."""
    found = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part in _SKIPPED_FOLDERS for part in inside)
        if hidden or path.suffix not in SOURCE_SUFFIXES or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if _DECLARES[path.suffix].search(text):
            found.append(path)
    return found


# -- which files make a pipeline --------------------------------------------------------------------


def _pipelines(folder: Path, files: Sequence[Path]) -> Iterator[_Pipeline]:
    """Yield the pipelines that bundles describe, then the rest of the files, by folder."""
    left = dict.fromkeys(files)
    for path in sorted({*folder.rglob("*.yml"), *folder.rglob("*.yaml")}):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        for pipeline in _bundle_pipelines(path, files):
            own = tuple(file for file in pipeline.files if file in left)
            if own:
                for file in own:
                    del left[file]
                yield _Pipeline(
                    pipeline.name,
                    pipeline.root,
                    own,
                    pipeline.configuration,
                    pipeline.catalog,
                    pipeline.database,
                    pipeline.assumed,
                )
    by_folder: dict[Path, list[Path]] = {}
    for file in left:
        by_folder.setdefault(_project_of(file, folder), []).append(file)
    for root, own_files in by_folder.items():
        yield _Pipeline(root.name, root, tuple(own_files))


def _project_of(file: Path, folder: Path) -> Path:
    """Return the folder that a file's pipeline starts in: above layers such as bronze and silver."""
    parent = file.parent
    while parent != folder and re.fullmatch(
        r"(?i)\d*[-_. ]*(bronze|silver|gold|raw|landing|staging|ingest\w*|transform\w*|curated|marts?"
        r"|dlt|pipelines?|python|sql|src|notebooks?|explorations?)\d*",
        parent.name,
    ):
        parent = parent.parent
    return parent


def _bundle_pipelines(path: Path, files: Sequence[Path]) -> Iterator[_Pipeline]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8", errors="replace"))
        pipelines = (data.get("resources") or {}).get("pipelines") or {}
        entries = list(pipelines.items())
    except (yaml.YAMLError, AttributeError, TypeError):
        return
    for name, entry in entries:
        if not isinstance(entry, Mapping):
            continue
        own: dict[Path, None] = {}
        for library in entry.get("libraries") or ():
            own.update(dict.fromkeys(_library_files(library, path.parent, files)))
        configuration = entry.get("configuration")
        if not isinstance(configuration, Mapping):
            configuration = {}
        root = path.parent / str(entry.get("root_path") or ".")
        if own:
            yield _Pipeline(
                str(name),
                root.resolve() if root.is_dir() else path.parent,
                tuple(own),
                {str(k): _plain(v) for k, v in configuration.items()},
                _name(entry.get("catalog")),
                _name(entry.get("schema") or entry.get("target")),
                tuple(str(k) for k, v in configuration.items() if "${" in str(v)),
            )


def _library_files(library: Any, base: Path, files: Sequence[Path]) -> Iterator[Path]:
    if not isinstance(library, Mapping):
        return
    for kind in ("notebook", "file", "glob"):
        entry = library.get(kind)
        text = (
            entry.get("include" if kind == "glob" else "path")
            if isinstance(entry, Mapping)
            else None
        )
        if not isinstance(text, str):
            continue
        place = (base / text.removesuffix("/**").replace("${workspace.file_path}", ".")).resolve()
        for file in files:
            if (
                file == place
                or file.with_suffix("") == place
                or (kind == "glob" and file.is_relative_to(place))
            ):
                yield file


def _plain(value: Any) -> str:
    """Return a value of a bundle, its variables replaced by their last names."""
    return re.sub(r"\$\{(?:[\w-]+\.)*([\w-]+)\}", lambda match: match[1], str(value))


def _name(value: Any) -> str | None:
    return None if value is None else re.sub(r"\W", "_", _plain(value))


# -- loading and planning ---------------------------------------------------------------------------


class _Porter:
    """Tries the files of one pipeline until those that are left plan together."""

    def __init__(
        self, folder: Path, pipeline: _Pipeline, engine: Engine, reports: dict[Path, FileReport]
    ) -> None:
        self._folder = folder
        self._pipeline = pipeline
        self._engine = engine
        self._root = Path(os.path.commonpath([pipeline.root, *(f.parent for f in pipeline.files)]))
        self._reports = reports
        self._files = list(pipeline.files)
        self._configuration = {"landing_zone": "/landing", **pipeline.configuration}
        self._assumed = list(pipeline.assumed)
        self._trials: dict[tuple[Path | None, int, str], _Trial] = {}
        for file in pipeline.files:
            reports[file] = FileReport(str(file.relative_to(folder)), pipeline.name)

    def run(self) -> None:
        for _ in range(_MOST_TRIES):
            if not self._files:
                return
            try:
                declarations = self._load()
            except PipelineError as error:
                if not self._mend(error):
                    return
            else:
                if self._plan(declarations):
                    return

    def _spec(self) -> PipelineSpec:
        libraries = tuple(str(file.relative_to(self._root)) for file in self._files)
        return PipelineSpec(
            "port",
            "storage",
            self._pipeline.catalog,
            self._pipeline.database,
            self._configuration,
            libraries,
        )

    def _load(self) -> Declarations:
        spec = self._spec()
        static = StaticQueries(
            lambda relation: rows_of(self._engine, self._engine.dataframe(relation)),
            self._engine.schema,
            whole_reader(self._engine, {}),
            self._configuration,
            Namespace(spec.catalog, spec.database),
        )
        return load_declarations(spec, self._root, static=static)

    def _mend(self, error: PipelineError) -> bool:
        """Note a mistake and make the next try differ; returns False if there is no next try."""
        file = self._file_of(error.location)
        module = re.search(r"No module named '(\w+)", str(error.args[0]))
        if self._assume_key(error) or (
            self._try_another_value(error) if module is None else self._move_root(module[1])
        ):
            return True
        if error.condition == "RUN_EMPTY_PIPELINE":
            return False
        if error.condition.startswith("PIPELINE_DUPLICATE_IDENTIFIERS"):
            # Two pipelines in one folder.
            return self._set_aside(file or self._files[-1])
        self._note(file, error, PortingVerdict.NEEDS if module is not None else None)
        if file in self._files:
            self._files.remove(file)
            return True
        # It lies in a module that several files may import: one by one tells who does.
        if len(self._files) == 1:
            self._note(self._files[0], error, PortingVerdict.NEEDS if module is not None else None)
            return False
        for each in self._files[1:]:
            self._set_aside(each)
        return True

    def _set_aside(self, file: Path) -> bool:
        """Try a file alone, and the others without it."""
        self._files.remove(file)
        alone = _Pipeline(
            self._pipeline.name,
            self._root,
            (file,),
            self._configuration,
            assumed=tuple(self._assumed),
        )
        _Porter(self._folder, alone, self._engine, self._reports).run()
        return True

    def _assume_key(self, error: PipelineError) -> bool:
        """Take a configuration key that is asked for to be there; returns False if it is there."""
        if error.condition not in _KEY_CONDITIONS:
            return False
        quoted = _QUOTED.findall(str(error.args[0]))
        is_secret = error.condition == "SECRET_NOT_FOUND"
        key = f"secrets/{quoted[1]}/{quoted[0]}" if is_secret else quoted[0]
        if key in self._configuration:
            return False
        self._configuration[key] = re.sub(r"\W", "_", re.split(r"[./]", key)[-1]).lower()
        self._assumed.append(key)
        self._note(self._file_of(error.location), error, PortingVerdict.NEEDS)
        return True

    def _try_another_value(self, error: PipelineError) -> bool:
        """Assume a value of another kind for a key that a mistake may follow from.

        A value that changes the mistake stays; returns False if no value is left to try.
        """
        if _verdict(error) is not PortingVerdict.FAILS or error.condition.startswith(_OF_FILES):
            return False
        trial = self._trial(error)
        message, mistake = str(error.args[0]), self._without_values(error)
        if trial.keys and message != trial.message:
            trial.follows = trial.keys[-1]
        trial.message = message
        if mistake != trial.mistake and trial.keys:
            # It got further: the next mistake here is another key's.
            trial.mistake, trial.value = mistake, 0
            trial.keys.pop()
        while trial.keys:
            key = trial.keys[-1]
            if trial.value < len(_VALUES_OF_OTHER_KINDS):
                self._configuration[key] = _VALUES_OF_OTHER_KINDS[trial.value]
                trial.value += 1
                return True
            self._configuration[key] = trial.names[key]
            trial.keys.pop()
            trial.value = 0
        return False

    def _trial(self, error: PipelineError) -> _Trial:
        file = self._file_of(error.location)
        place = (file, error.location.line if error.location else 0, error.condition)
        if place not in self._trials:
            text = file.read_text("utf-8", "replace") if file is not None else ""
            keys = [key for key in self._assumed if key in text] or self._assumed
            self._trials[place] = _Trial(
                self._without_values(error),
                str(error.args[0]),
                keys[:_MOST_KEYS][::-1],
                {key: self._configuration[key] for key in keys},
            )
        return self._trials[place]

    def _without_values(self, error: PipelineError) -> str:
        message = str(error.args[0])
        for key in self._assumed:
            message = message.replace(repr(self._configuration[key]), "...")
        return message

    def _move_root(self, module: str) -> bool:
        """Start from a folder above (up to the one that is ported) that holds a module."""
        for parent in self._root.parents:
            if not parent.is_relative_to(self._folder):
                return False
            if (parent / module).is_dir() or (parent / f"{module}.py").is_file():
                self._root = parent
                return True
        return False

    def _plan(self, declarations: Declarations) -> bool:
        """Plan what the files declare; returns False if another try will know more."""
        mistakes, assumed = Mistakes(), dict[str, SourceLocation]()
        self._engine.register(declarations.session.functions)
        try:
            graph = build(
                declarations,
                catalog=self._pipeline.catalog,
                database=self._pipeline.database,
                analyze=self._engine.schema,
                infer=_no_columns,
                mistakes=mistakes,
                assumed=assumed,
            )
            self._engine.register(declarations.session.functions)
            check_options(graph)
            check_all_paths(graph, mistakes)
            analyse(graph, self._engine.schema, _declared_columns, mistakes)
        except PipelineError as error:
            mistakes.add(error)
        if list(filter(self._assume_key, mistakes.errors)):
            return False
        if any(map(self._try_another_value, mistakes.errors)):
            return False
        for dataset in declarations.datasets:
            file = self._file_of(dataset.location)
            if file in self._reports:
                self._reports[file].datasets.append(dataset.name)
        for mistake in mistakes.errors:
            self._note(self._file_of(mistake.location) or self._files[0], mistake, None)
        for name, location in assumed.items():
            missing = PipelineError(
                f"the table {name!r} is made elsewhere; name it under 'tables' in proa.yml,"
                " or add its files to the pipeline",
                condition="TABLE_OR_VIEW_NOT_FOUND",
                location=location,
            )
            self._note(self._file_of(location), missing, PortingVerdict.NEEDS)
        return True

    def _note(self, file: Path | None, error: ProaError, verdict: PortingVerdict | None) -> None:
        report = self._reports.get(file) if file is not None else None
        if report is None:
            return
        message = str(error.args[0])
        location = error.location if isinstance(error, PipelineError) else None
        line = location.line if location else 1
        trial = self._trials.get((file, line, error.condition))
        if verdict is None and trial is not None and trial.follows is not None:
            verdict = PortingVerdict.NEEDS
            message += f" (the value of the configuration key {trial.follows!r} is not known here)"
        verdict = verdict or _verdict(error)
        if verdict is PortingVerdict.NEEDS and error.condition == _NO_FUNCTION:
            message = (
                f"{message.split(';')[0]}, nor has Spark; register it in a file of the pipeline"
                " (spark.udf.register), or look at its spelling"
            )
        obstacle = Obstacle(verdict, error.condition, message, line)
        if obstacle not in report.obstacles:
            report.obstacles.append(obstacle)

    def _file_of(self, location: SourceLocation | None) -> Path | None:
        if location is None:
            return None
        return (self._root / location.file).resolve()


def _verdict(error: ProaError) -> PortingVerdict:
    if error.condition in {_COLUMNS_UNKNOWN, "TABLE_OR_VIEW_NOT_FOUND", "PATH_NOT_FOUND"}:
        return PortingVerdict.NEEDS
    if _NO_FILE.search(str(error.args[0])) or _IN_A_PACKAGE in str(error.args[0]):
        return PortingVerdict.NEEDS
    if error.condition == _NO_FUNCTION and not _is_sparks_function(error):
        return PortingVerdict.NEEDS
    family = error.condition.partition(".")[0]
    return PortingVerdict.REFUSED if family in _BY_DECISION else PortingVerdict.FAILS


def _is_sparks_function(error: ProaError) -> bool:
    """Whether a function that the engine lacks is one of Spark's, or nearly spelled as one."""
    match = re.search(r"no function ([\w.]+)\(\)", str(error.args[0]))
    known = {name.lower() for name in dir(functions)}
    known |= AGGREGATES | CLOCK | ENVIRONMENT | EXTERNAL | RANDOM
    return (
        match is None
        or match[1].lower().startswith(_DATABRICKS_PREFIXES)
        or bool(get_close_matches(match[1].lower(), known, cutoff=0.85))
    )


def _declared_columns(_flow: Flow, leaf: FilesLeaf) -> StructType:
    known = declared_columns(leaf)
    if known is None:
        raise DataError("files are not looked at")
    return known


def _no_columns(flow: Flow, leaf: FilesLeaf) -> NoReturn:
    raise PipelineError(
        f"the query asks for the columns of the files in {leaf.path!r}, which are not looked at here;"
        " land some files, or give the source a schema",
        condition=_COLUMNS_UNKNOWN,
        location=flow.location,
    )
