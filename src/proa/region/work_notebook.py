"""A notebook's cells, run one after the other in a worker process."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Mapping
from typing import Any

from proa.engine import Engine
from proa.errors import UserError
from proa.region.catalog import register
from proa.region.inbox import Inbox
from proa.region.notebooks import Cell, cells
from proa.settings import EngineSettings

_SHOWN_ROWS = 20


class NotebookExit(BaseException):
    """`dbutils.notebook.exit(value)`: the notebook ends here, and well."""

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.value = value


def run(work: Mapping[str, Any], _say: Callable[..., None], inbox: Inbox) -> dict[str, Any]:
    """Run the notebook `work` describes; its answer is what it exited with, if it did."""
    engine = Engine.start(EngineSettings(remote=work.get("engine")), work.get("options") or {})
    session = _Session(work, engine)
    try:
        for cell in cells(str(work["language"]), str(work["source"])):
            if inbox.stop.is_set():
                return {"outcome": "CANCELED"}
            session.run(cell)
    except NotebookExit as left:
        return {"outcome": "COMPLETED", "output": left.value}
    finally:
        engine.close()
    return {"outcome": "COMPLETED"}


class _Session:
    """What the cells share: the names, the engine, and `dbutils`."""

    def __init__(self, work: Mapping[str, Any], engine: Engine) -> None:
        self._path = str(work["path"])
        self._work = work
        self._engine = engine
        self._registered = False
        self._names: dict[str, Any] = {
            "__name__": "__main__",
            "__file__": self._path,
            "dbutils": _Utilities(work),
            "display": self._display,
        }

    def run(self, cell: Cell) -> None:
        """Run one cell. UserError for a kind of cell that a region does not run."""
        if cell.language == "PYTHON":
            self._python(cell)
        elif cell.language == "SQL":
            for statement in _statements(cell.source):
                self._display(self._sql(statement))
        elif cell.language not in {"MARKDOWN", "%pip"}:
            raise UserError(
                f"{self._path}:{cell.line}: a cell of kind {cell.language} cannot be run in a"
                " region; use Python or SQL"
            )

    def _python(self, cell: Cell) -> None:
        self._names.setdefault("spark", _Late(self._spark))
        tree = ast.parse(cell.source, self._path)
        ast.increment_lineno(tree, cell.line - 1)
        exec(compile(tree, self._path, "exec"), self._names)  # noqa: S102 - it is the notebook

    def _spark(self) -> Any:
        if not self._registered:
            register(self._engine, self._work.get("tables") or ())
            self._registered = True
        return self._engine.spark

    def _sql(self, statement: str) -> Any:
        with self._engine.translating():
            return self._spark().sql(statement, args=dict(self._work.get("parameters") or {}))

    def _display(self, value: Any) -> None:
        if hasattr(value, "show"):
            with self._engine.translating():
                value.show(_SHOWN_ROWS)
        elif value is not None:
            print(value)  # noqa: T201 - the notebook's own output


class _Late:
    """`spark`, which starts when it is first used."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._start(), name)


class _Utilities:
    """The parts of `dbutils` that a region has: widgets, secrets, notebook.exit."""

    def __init__(self, work: Mapping[str, Any]) -> None:
        self.widgets = _Widgets(dict(work.get("parameters") or {}))
        self.secrets = _Secrets(dict(work.get("secrets") or {}))
        self.notebook = _Notebook()


class _Widgets:
    def __init__(self, values: dict[str, str]) -> None:
        self._values = values
        self._defaults: dict[str, str] = {}

    def text(self, name: str, defaultValue: str = "", label: str | None = None) -> None:  # noqa: N803, ARG002 - Databricks' own names
        self._defaults[name] = defaultValue

    def dropdown(
        self,
        name: str,
        defaultValue: str,  # noqa: N803
        choices: Any = (),  # noqa: ARG002
        label: str | None = None,  # noqa: ARG002
    ) -> None:
        self._defaults[name] = defaultValue

    combobox = dropdown
    multiselect = dropdown

    def get(self, name: str) -> str:
        """The task's parameter, else the widget's default. UserError when neither is there."""
        if name in self._values:
            return self._values[name]
        if name in self._defaults:
            return self._defaults[name]
        raise UserError(
            f"there is no parameter {name!r}; give the task one in base_parameters,"
            " or declare the widget with a default"
        )

    def getAll(self) -> dict[str, str]:  # noqa: N802 - Databricks' own name
        return {**self._defaults, **self._values}

    def remove(self, name: str) -> None:
        self._defaults.pop(name, None)

    def removeAll(self) -> None:  # noqa: N802 - Databricks' own name
        self._defaults.clear()


class _Secrets:
    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def get(self, scope: str, key: str) -> str:
        """The secret's text. UserError when there is none."""
        try:
            return self._values[f"{scope}/{key}"]
        except KeyError:
            raise UserError(f"there is no secret {key!r} in scope {scope!r}") from None


class _Notebook:
    def exit(self, value: Any = "") -> None:
        """End the notebook; `value` is the task's output."""
        raise NotebookExit(str(value))


def _statements(text: str) -> list[str]:
    """The statements of a SQL cell, parted by semicolons that are not within text."""
    from sqlglot import tokenize
    from sqlglot.tokenizer_core import TokenType

    found, begin = [], 0
    for token in tokenize(text, dialect="databricks"):
        if token.token_type is TokenType.SEMICOLON:
            found.append(text[begin : token.start])
            begin = token.end + 1
    found.append(text[begin:])
    return [statement for statement in found if statement.strip()]


def warm() -> None:
    """Import what a notebook needs before it comes."""
    os.environ.setdefault("RUST_LOG", "error")
    import pysail.spark  # noqa: F401
    import pyspark.sql.connect.session  # noqa: F401
