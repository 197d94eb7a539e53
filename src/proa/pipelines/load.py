"""A project's files become declarations. Nothing is computed; query functions are not called."""

from __future__ import annotations

import linecache
import shlex
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from proa.errors import PipelineError, SourceLocation
from proa.pipelines.definitions import Declarations
from proa.pipelines.identifiers import Namespace
from proa.pipelines.notebook_source import Cell, cells, is_notebook, jupyter_cells
from proa.pipelines.session_settings import check_configuration
from proa.pipelines.spec import PipelineSpec, seen_from, source_files

if TYPE_CHECKING:
    from proa.pipelines.environment import Environment
    from proa.pipelines.notebook_utilities import DeclaringUtilities
    from proa.pipelines.registry import Registry

LOADING_FAILED = "PIPELINE_SOURCE_FAILED"
UNSUPPORTED_MAGIC = "UNSUPPORTED_NOTEBOOK_MAGIC"

_LANGUAGES = {".py": "PYTHON", ".sql": "SQL"}
"""Of source files, by suffix."""


class StaticEngine(Protocol):
    """Answers what code asks of rows that are there already."""

    def rows(self, relation: Any) -> Any:
        """Return the rows of a plan, a `pyarrow.Table`. Raises PipelineError if it is not static."""

    def schema(self, relation: Any) -> Any:
        """Return the columns of a plan, a StructType. Raises PipelineError if it is not static."""


def load_declarations(
    spec: PipelineSpec,
    root: Path,
    configuration: Mapping[str, str] | None = None,
    static: StaticEngine | None = None,
) -> Declarations:
    """What the files of a project declare.

    `root` is the folder that the specification's globs start from; `configuration` adds to the
    specification's own, and wins. `static` answers `collect()` and the like; without, they are
    refused as Apache refuses them. Every call reads the files afresh; nothing of the project is
    left in the process. One pipeline is loaded at a time, whatever the number of threads.

    Raises PipelineError, with the user's file and line, for the first mistake.
    """
    from pyspark.pipelines.graph_element_registry import graph_element_registration_context

    from proa.pipelines import dlt
    from proa.pipelines.declaring_session import DeclaringSession
    from proa.pipelines.environment import Environment
    from proa.pipelines.registry import Registry

    root = root.resolve()
    if not root.is_dir():
        raise PipelineError(
            f"there is no folder {str(root)!r}", condition="PIPELINE_SOURCE_NOT_FOUND"
        )
    settings = {**spec.configuration, **(configuration or {})}
    check_configuration(settings)
    files = source_files(spec, root)
    folders = tuple(file.parent for file in files if file.suffix == ".py")
    session = DeclaringSession(settings)
    if static is not None:
        session.compute, session.analyzer = static.rows, static.schema
    environment = Environment(root, session, folders, names=dlt)
    registry = Registry(environment, Namespace(spec.catalog, spec.database))
    with environment.enter(), graph_element_registration_context(registry):
        for file in files:
            _FileLoader(file, registry, environment).load()
    return registry.declarations()


class _FileLoader:
    """Runs the Python and declares the SQL of one file, and of the notebooks that it includes."""

    def __init__(self, file: Path, registry: Registry, environment: Environment) -> None:
        self._file = file
        self._registry = registry
        self._environment = environment
        self._including: list[Path] = []
        """Notebooks that are being read, the outermost first."""
        self._module: ModuleType | None = None
        self._code_lines: list[str] = []
        """The Python of a Jupyter notebook, on the lines where its JSON holds it."""

    def load(self) -> None:
        self._load(self._file)

    def _load(self, file: Path) -> None:
        text = self._text(file)
        cells = self._cells(file, text)
        if cells is not None:
            self._including.append(file)
            for cell in cells:
                self._run_cell(file, cell)
            self._including.pop()
        elif file.suffix == ".py":
            self._execute(file, text)
        else:
            self._registry.register_sql(text, file)

    def _text(self, file: Path) -> str:
        try:
            return file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise PipelineError(
                f"cannot read {self._shown_path(file)}: {error}",
                condition=LOADING_FAILED,
                location=SourceLocation(self._shown_path(file), 1),
            ) from error

    def _cells(self, file: Path, text: str) -> list[Cell] | None:
        """Return the cells of a notebook, None if the file is not one."""
        if file.suffix == ".ipynb":
            try:
                return jupyter_cells(text)
            except ValueError as error:
                raise PipelineError(
                    f"{self._shown_path(file)} is not a Jupyter notebook: {error}",
                    condition=LOADING_FAILED,
                    location=SourceLocation(self._shown_path(file), 1),
                ) from error
        return cells(_LANGUAGES[file.suffix], text) if is_notebook(text) else None

    def _run_cell(self, file: Path, cell: Cell) -> None:
        if cell.language == "PYTHON":
            self._execute(file, "\n" * (cell.line - 1) + cell.source)
        elif cell.language == "SQL":
            self._registry.register_sql(cell.source, file, cell.line)
        elif cell.language == "%run":
            self._include(file, cell)
        elif cell.language != "MARKDOWN" and cell.declares:
            raise PipelineError(
                f"a {cell.language} cell declares datasets, which only Python and SQL can;"
                " move it to a Python file",
                condition=UNSUPPORTED_MAGIC,
                location=SourceLocation(self._shown_path(file), cell.line),
            )

    def _include(self, file: Path, cell: Cell) -> None:
        """Run the notebook that `%run path $name="value"` names, as if its cells stood here."""
        location = SourceLocation(self._shown_path(file), cell.line)
        words = shlex.split(cell.source, comments=True)
        notebook = _notebook_near(file, words[0]) if words else None
        if notebook is None:
            raise PipelineError(
                f"%run {cell.source.strip()} finds no notebook next to {self._shown_path(file)}; keep it in"
                " the project, or make it a module and import it",
                condition=UNSUPPORTED_MAGIC,
                location=location,
            )
        if notebook in self._including:
            raise PipelineError(
                f"%run {words[0]} includes a notebook that is being read; remove the circle",
                condition=UNSUPPORTED_MAGIC,
                location=location,
            )
        parameters = (word.removeprefix("$").partition("=") for word in words[1:])
        utilities: DeclaringUtilities = self._names(file)["dbutils"]
        utilities.widgets.give({name: value for name, _, value in parameters})
        self._load(notebook)

    def _names(self, file: Path) -> dict[str, Any]:
        """Return the names that all Python of the file shares, `spark` and `dbutils` among them."""
        if self._module is None:
            self._module = self._environment.source_module(
                file, is_main=file.suffix == ".ipynb" or bool(self._including)
            )
        return self._module.__dict__

    def _execute(self, file: Path, text: str) -> None:
        root = self._environment.root
        names = self._names(file)
        if file.suffix == ".ipynb":
            # `inspect` shows a function's text by its line: the notebook's JSON is not that text.
            self._code_lines += text.split("\n")[len(self._code_lines) :]
            lines = [f"{line}\n" for line in self._code_lines]
            linecache.cache[str(file)] = (sum(map(len, lines)), None, lines, str(file))
        try:
            code = compile(text, str(file), "exec", dont_inherit=True)
            exec(code, names)  # noqa: S102 - it is the pipeline
        except PipelineError as error:
            place = self._environment.place
            error.location = place.shown_location(error.location) or _user_line(error, root, file)
            raise
        except SyntaxError as error:
            shown = seen_from(root, error.filename or file)
            raise PipelineError(
                f"syntax error: {error.msg}",
                condition="PYTHON_SYNTAX_ERROR",
                location=SourceLocation(shown, error.lineno or 1),
            ) from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise _source_error(error, root, file) from error

    def _shown_path(self, file: Path) -> str:
        return seen_from(self._environment.root, file)


def _notebook_near(file: Path, path: str) -> Path | None:
    """Return the notebook at `path`, which starts from the folder of `file`; None if there is none."""
    for suffix in ("", *_LANGUAGES, ".ipynb"):
        notebook = (file.parent / (path + suffix)).resolve()
        if notebook.is_file() and notebook.suffix in {*_LANGUAGES, ".ipynb"}:
            return notebook
    return None


def _source_error(error: BaseException, root: Path, file: Path) -> PipelineError:
    from proa.pipelines.declaring_session import pyspark_sentence

    said, condition = pyspark_sentence(error)
    if condition is None:
        said = f"{type(error).__name__}: {error}"
    return PipelineError(
        f"{said}{_remedy(error)}",
        condition=condition or LOADING_FAILED,
        location=_user_line(error, root, file),
    )


def _remedy(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"; install it next to Proa, or add {error.name}.py to the project"
    if isinstance(error, ImportError) and "relative import" in str(error):
        return (
            "; the file is part of a package, not a source file of a pipeline: import it by the package's"
            " name from one, and leave it out of 'libraries'"
        )
    if isinstance(error, SystemExit):
        return "; a pipeline's file must not end the process"
    return ""


def _user_line(error: BaseException, root: Path, file: Path) -> SourceLocation:
    """The innermost line of the project's own code that the error went through."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        is_project = path.is_relative_to(root) and not path.is_relative_to(sys.prefix)
        if is_project or path == file:
            return SourceLocation(seen_from(root, path), frame.lineno or 1)
    return SourceLocation(seen_from(root, file), 1)
