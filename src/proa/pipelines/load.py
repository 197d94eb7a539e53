"""A project's files become declarations. Nothing is computed; query functions are not called."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from proa.errors import PipelineError, SourceLocation
from proa.pipelines.definitions import Declarations
from proa.pipelines.identifiers import Namespace
from proa.pipelines.notebook_source import is_notebook, sql_cells
from proa.pipelines.spec import PipelineSpec, seen_from, source_files

if TYPE_CHECKING:
    from proa.pipelines.environment import Environment
    from proa.pipelines.registry import Registry

LOADING_FAILED = "PIPELINE_SOURCE_FAILED"


def load(
    spec: PipelineSpec, root: Path, configuration: Mapping[str, str] | None = None
) -> Declarations:
    """What the files of a project declare.

    `root` is the folder that the specification's globs start from; `configuration` adds to the
    specification's own, and wins. Every call reads the files afresh; nothing of the project is
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
    files = source_files(spec, root)
    folders = tuple(file.parent for file in files if file.suffix == ".py")
    environment = Environment(root, DeclaringSession(settings), folders, names=dlt)
    registry = Registry(environment, Namespace(spec.catalog, spec.database))
    with environment.entered(), graph_element_registration_context(registry):
        for file in files:
            _load_file(file, registry, environment)
    return registry.declarations()


def _load_file(file: Path, registry: Registry, environment: Environment) -> None:
    shown = seen_from(environment.root, file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(
            f"cannot read {shown}: {error}",
            condition=LOADING_FAILED,
            location=SourceLocation(shown, 1),
        ) from error
    cells = sql_cells(text, shown) if is_notebook(text) else ()
    if file.suffix == ".py":
        _run(file, text, environment)
    else:
        registry.register_sql(text, file)
    for cell in cells:
        registry.register_sql(cell.text, file, cell.line)


def _run(file: Path, text: str, environment: Environment) -> None:
    """Execute a Python file as a module of its own, `spark` already there."""
    root = environment.root
    # A name that no import finds, the same in every region: it travels with pickled functions.
    module = ModuleType("pipeline:" + seen_from(root, file.with_suffix("")))
    module.__file__ = str(file)
    module.__dict__.update(
        spark=environment.session, display=_show_nothing, displayHTML=_show_nothing
    )
    environment.add(module)
    try:
        code = compile(text, str(file), "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - it is the pipeline
    except PipelineError as error:
        error.location = environment.place.shown(error.location) or _where(error, root, file)
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
        raise _failed(error, root, file) from error


def _show_nothing(*_args: Any, **_options: Any) -> None:
    """`display(...)` of a notebook: there is nobody to look."""


def _failed(error: BaseException, root: Path, file: Path) -> PipelineError:
    condition = getattr(error, "getCondition", lambda: None)()
    said = f"{type(error).__name__}: {error}"
    if condition is not None:
        # pyspark says the condition too, in brackets before its sentence.
        said = str(error).removeprefix(f"[{condition}] ")
    condition = condition or LOADING_FAILED
    return PipelineError(
        f"{said}{_remedy(error)}",
        condition=condition,
        location=_where(error, root, file),
    )


def _remedy(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"; install it next to Proa, or add {error.name}.py to the project"
    if isinstance(error, NameError) and error.name == "dbutils":
        return "; read the pipeline's configuration with spark.conf.get('key')"
    if isinstance(error, SystemExit):
        return "; a pipeline's file must not end the process"
    return ""


def _where(error: BaseException, root: Path, file: Path) -> SourceLocation:
    """The innermost line of the project's own code that the error went through."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        is_project = path.is_relative_to(root) and not path.is_relative_to(sys.prefix)
        if is_project or path == file:
            return SourceLocation(seen_from(root, path), frame.lineno or 1)
    return SourceLocation(seen_from(root, file), 1)
