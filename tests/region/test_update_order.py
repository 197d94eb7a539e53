"""What the server tells a worker of an update arrives as it was told."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from proa.region.workers.update_order import UpdateOrder
from proa.settings import AcceptedFinding

TEXTS = st.text(max_size=8)
OPTIONAL = st.none() | TEXTS
ACCEPTED = st.builds(AcceptedFinding, finding=TEXTS, reason=st.text(min_size=1, max_size=8))
ORDERS = st.builds(
    UpdateOrder,
    **dict.fromkeys(("region", "pipeline_id", "update_id", "name", "storage", "cause"), TEXTS),
    **{name: st.dictionaries(TEXTS, TEXTS) for name in ("options", "files", "configuration")},
    **dict.fromkeys(("engine", "catalog", "schema", "event_time"), OPTIONAL),
    continuous=st.booleans(),
    development=st.booleans(),
    request=st.dictionaries(TEXTS, st.booleans() | st.lists(TEXTS)),
    accept=st.lists(ACCEPTED, max_size=2).map(tuple),
    dr_safety=st.sampled_from(["off", "warn", "error"]),
    regional_keys=st.frozensets(TEXTS),
)


@settings(deadline=None)
@given(ORDERS)
def test_an_order_travels_whole(order):
    travelled = json.loads(json.dumps({**order.to_json(), "scratch": "/somewhere"}))
    assert UpdateOrder.from_json(travelled) == order
