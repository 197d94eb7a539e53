"""A project on disk, written line by line and loaded."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from proa.errors import PipelineError
from proa.pipelines import Declarations, PipelineSpec
from proa.pipelines.load import load_declarations


class Project:
    """Files under a folder; those below `transformations` declare the pipeline."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> Project:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("\n "):
            text = textwrap.dedent(text[1:])
        file.write_text(text, encoding="utf-8")
        return self

    def load(self, **configuration: str) -> Declarations:
        spec = PipelineSpec("p", "storage", libraries=("transformations/**",))
        return load_declarations(spec, self.root, configuration)

    def refused(self, **configuration: str) -> PipelineError:
        with pytest.raises(PipelineError) as caught:
            self.load(**configuration)
        return caught.value


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    return Project(tmp_path)


@pytest.fixture
def python(project: Project) -> Callable[[str], Declarations]:
    """Load one Python file, `dlt` and `dp` already imported in its first two lines."""

    def load_python(text: str) -> Declarations:
        return _with_imports(project, text).load()

    return load_python


@pytest.fixture
def python_refused(project: Project) -> Callable[[str], PipelineError]:
    """The same for a file that must not load."""
    return lambda text: _with_imports(project, text).refused()


def _with_imports(project: Project, text: str) -> Project:
    imports = "import dlt\nfrom pyspark import pipelines as dp\n"
    return project.write("transformations/a.py", imports + textwrap.dedent(text).lstrip("\n"))
