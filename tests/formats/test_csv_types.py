"""Types of CSV columns are Spark's: whole numbers too large for a bigint are decimals."""

from __future__ import annotations

import pyarrow as pa
import pytest
from format_reading import read

from proa.autoloader.options import parse
from proa.formats.columns import text_type

OPTIONS = parse({"format": "csv"}, schema_given=False).reader


@pytest.mark.parametrize(
    ("texts", "type_"),
    [
        (["1", "2"], pa.int32()),
        (["1", str(2**40)], pa.int64()),
        ([str(2**63)], pa.decimal128(19, 0)),
        (["1", str(2**63)], pa.decimal128(19, 0)),
        ([str(2**40), str(2**63)], pa.decimal128(20, 0)),
        (["1" * 32, "7"], pa.decimal128(32, 0)),
        (["0" * 40 + "7", "1" * 25], pa.decimal128(25, 0)),
        (["1" * 39], pa.float64()),
        (["1" * 30, "0.5"], pa.float64()),
        (["1,234"], pa.decimal128(4, 0)),
        (["1,234", "5"], pa.decimal128(10, 0)),
        (["1,234.50"], pa.string()),
        (["1.5", "1e3"], pa.float64()),
        (["1", "x"], pa.string()),
    ],
)
def test_the_narrowest_type_that_takes_every_text(texts: list[str], type_: pa.DataType):
    assert text_type(pa.array(texts), OPTIONS) == type_


@pytest.mark.parametrize("other", ["2", "x"], ids=["clean", "beside a misfit"])
def test_commas_part_thousands_in_a_decimal(other: str):
    schema = pa.schema([("d", pa.decimal128(10, 2)), ("_rescued_data", pa.string())])
    rows = read(f'd\n"1,234.50"\n{other}\n'.encode(), schema, {"format": "csv"})
    assert str(rows[0]["d"]) == "1234.50"
    rows = read(f'{{"d":"1,234.50"}}\n{{"d":"{other}"}}\n'.encode(), schema, {"format": "json"})
    assert str(rows[0]["d"]) == "1234.50"
