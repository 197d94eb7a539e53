"""A region's server tells of it what its storage shows: nothing changes on the way over the API."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from proa.errors import ProaError, UnavailableError
from proa.recovery.by_api import _status
from proa.recovery.region_status import RegionStatus, SourceStatus, status_facts

COUNTS = st.integers(0, 2**50)
MOMENTS = st.none() | st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(tzinfo=UTC)
)
SOURCES = st.builds(
    SourceStatus,
    st.text(min_size=1, max_size=5),
    st.none() | COUNTS,
    st.none() | COUNTS,
    st.none() | COUNTS,
    COUNTS,
    COUNTS,
    MOMENTS,
    st.none() | st.floats(0, 1e9),
    st.booleans(),
)
STATUSES = st.builds(
    RegionStatus,
    st.text(min_size=1, max_size=5),
    st.lists(SOURCES, max_size=3).map(tuple),
    MOMENTS,
    st.none() | st.just(UnavailableError("the storage does not answer")),
)


@given(STATUSES)
def test_a_status_arrives_as_it_was(status: RegionStatus) -> None:
    arrived = _status(status.region, json.loads(json.dumps(status_facts(status))))
    assert (arrived.region, arrived.sources) == (status.region, status.sources)
    assert (arrived.latest_event, arrived.lag) == (status.latest_event, status.lag)
    assert (arrived.error is None) == (status.error is None)
    assert arrived.error is None or isinstance(arrived.error, ProaError)
    assert str(arrived.error) == str(status.error)
