"""One embedded engine for all tests of a process: starting one takes a second."""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from proa.engine import Engine
from proa.lake import Table

Location = tuple[str, dict[str, str]]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine.start() as found:
        yield found


@pytest.fixture
def s3_engine(s3_location: Location) -> Iterator[Engine]:
    with Engine.start(options=s3_location[1]) as found:
        yield found


@pytest.fixture
def table(location: Location) -> Table:
    url, options = location
    return Table.at(f"{url}/tables/t", options)


@pytest.fixture
def frame(engine: Engine) -> Callable[[pa.Table], Any]:
    """An engine's DataFrame with the given rows."""

    def make(rows: pa.Table) -> Any:
        return engine.spark.createDataFrame(rows)

    return make
