"""A column's largest value comes from the files that can hold it."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.lake import Change, Table, commit_change, create_table, write_rows
from proa.lake.largest import largest_value
from proa.lake.table_schema import from_delta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 4 * 10**15).map(lambda us: EPOCH + timedelta(microseconds=us))
KINDS = {
    "moments": (pa.timestamp("us", "UTC"), MOMENTS),
    "local moments": (pa.timestamp("us"), MOMENTS.map(lambda moment: moment.replace(tzinfo=None))),
    "days": (pa.date32(), MOMENTS.map(datetime.date)),
    "texts": (pa.string(), st.text(max_size=40)),
    "numbers": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "floats": (pa.float64(), st.floats(allow_nan=False)),
}


def table_of(url: str, options: dict, batches: list[list], kind: pa.DataType) -> Table:
    from deltalake import Schema

    table = Table(url, options)
    schema = pa.schema([("value", kind)])
    create_table(table, from_delta(Schema.from_arrow(schema)))
    for number, values in enumerate(batches):
        rows = pa.table({"value": pa.array(values, kind)}, schema=schema)
        file = write_rows(rows, url, options, f"a{number}")
        commit_change(table, Change("t", number, f"a{number}", 0, adds=[file]))
    return table


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_it_is_what_a_look_at_every_row_finds(tmp_path_factory, name: str, data) -> None:
    kind, values = KINDS[name]
    some = st.lists(st.none() | values, min_size=1, max_size=4)
    batches = data.draw(st.lists(some, min_size=1, max_size=4))
    table = table_of(str(tmp_path_factory.mktemp("t")), {}, batches, kind)
    known = [value for batch in batches for value in batch if value is not None]
    assert largest_value(table, "value") == max(known, default=None)


@pytest.mark.slow
def test_only_files_that_can_hold_it_are_read(location) -> None:
    url, options = location
    table = table_of(f"{url}/t", options, [[1], [5], [None], [3]], pa.int64())
    for path, bound in table.upper_bounds("value"):
        if bound in {1, 3}:
            table._store.delete(path)
    assert largest_value(table, "value") == 5
    with pytest.raises(Exception, match="is gone"):
        largest_value(table, "other")
