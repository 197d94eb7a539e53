"""Engines that live as long as the test process, and projects on disk and on S3."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_projects import Project

from proa.engine import Engine
from proa.settings import EngineSettings

Location = tuple[str, dict[str, str]]


@pytest.fixture(scope="session")
def engines() -> Iterator[Callable[[dict[str, str]], Engine]]:
    """One engine for each set of options: starting one takes a second.

    `PROA_TEST_REMOTE` names a Spark Connect server that computes instead of the embedded engine,
    for projects on disk.
    """
    started: dict[str, Engine] = {}

    def get(options: dict[str, str]) -> Engine:
        settings = EngineSettings(remote=None if options else os.environ.get("PROA_TEST_REMOTE"))
        return started.setdefault(str(options), Engine.start(settings, options))

    yield get
    for engine in started.values():
        engine.close()


@pytest.fixture
def make(tmp_path: Path, engines) -> Callable[..., Project]:
    """Make a project, on disk unless a location is given."""

    def project(location: Location | None = None, name: str = "p", **options) -> Project:
        url, storage_options = location or (str(tmp_path / name), {})
        folder = tmp_path / f"{name}-source"
        folder.mkdir()
        return Project(folder, url, engines(storage_options), storage_options, **options)

    return project


@pytest.fixture
def region(make, request) -> Callable[..., Project]:
    """Make a project of the module's Python and SQL, or of the given ones."""
    module = request.module

    def project(name: str, text: str | None = None, sql: str | None = None) -> Project:
        text = module.PYTHON if text is None else text
        sql = module.SQL if sql is None else sql
        made = make(name=name).write(text)
        return made.write(sql, "more.sql") if sql else made

    return project


@pytest.fixture
def project(make) -> Project:
    return make()


@pytest.fixture
def placed(make, location: Location) -> Project:
    """A project on disk, and again on S3."""
    return make(location)
