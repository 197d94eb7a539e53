"""The shipper, the Auto Loader and who judges them mean the same names when they hide files."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.storage.visible import HIDDEN, is_hidden, left_out

PARTS = st.text(alphabet="_.=a~#1", min_size=1, max_size=5) | st.sampled_from(
    ["_day=2026-01-01", "_SUCCESS", ".crc", "x._COPYING_", "_metadata", "__=", "=_"]
)


@settings(deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=4).map("/".join))
def test_one_rule_in_a_listing_and_name_by_name(path: str):
    listed = pc.match_substring_regex(pa.array([path]), HIDDEN)[0].as_py()
    assert listed == is_hidden(path)
    assert listed == (
        any(part[0] == "." or (part[0] == "_" and "=" not in part) for part in path.split("/"))
        or path.endswith("._COPYING_")
    )
    assert (left_out(path) is not None) >= listed
