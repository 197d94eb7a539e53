"""Keys are found as a dictionary of Python finds them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proa.cdc.key_places import KeyPlaces

NUMBERS = st.one_of(
    st.integers(-3, 3), st.sampled_from([-(1 << 63), (1 << 63) - 1, 1 << 40, (1 << 40) + 9])
)
COLUMNS = {
    pa.int64(): NUMBERS,
    pa.int8(): st.integers(-128, 127),
    pa.string(): st.sampled_from(["", "a", "A", "ä", "a "]),
    pa.bool_(): st.booleans(),
    pa.decimal128(5, 2): st.sampled_from([Decimal("1.00"), Decimal("-1.00"), Decimal("9.99")]),
    pa.timestamp("us", "UTC"): st.sampled_from(
        [datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2)]
    ),
}


@pytest.mark.parametrize("width", [1, 2, 3])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_key_is_found_where_it_stands(width: int, data) -> None:
    kinds = data.draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=width, max_size=width))
    row = st.tuples(*(COLUMNS[kind] for kind in kinds))
    keys = data.draw(st.lists(row, min_size=1, max_size=8, unique=True))
    maybe = st.tuples(*(st.one_of(st.none(), COLUMNS[kind]) for kind in kinds))
    rows = data.draw(st.lists(st.one_of(row, maybe, st.sampled_from(keys)), max_size=12))
    cut = data.draw(st.integers(0, len(rows)))
    index = KeyPlaces([pa.array([key[n] for key in keys], kind) for n, kind in enumerate(kinds)])
    found = index.find(
        [
            pa.chunked_array([[r[n] for r in rows[:cut]], [r[n] for r in rows[cut:]]], kind)
            for n, kind in enumerate(kinds)
        ]
    )
    places = {key: place for place, key in enumerate(keys)}
    assert found.tolist() == [places.get(row, -1) for row in rows]
