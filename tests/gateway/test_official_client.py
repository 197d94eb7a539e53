"""The official Delta Sharing client, and engines that read the files which the gateway links to."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import warnings
from pathlib import Path

import delta_sharing
import duckdb
import httpx
import polars as pl
import pyarrow as pa
import pytest
from gateway_world import GatewayWorld, new_world, numbers
from running_gateway import served_gateway

from proa.testing import FakeClock

pytestmark = pytest.mark.slow

EVERY_TYPE = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "small": pa.array([1, None, 3], pa.int16()),
        "ok": [True, None, False],
        "price": pa.array(
            [decimal.Decimal("1.50"), None, decimal.Decimal("-2.25")], pa.decimal128(9, 2)
        ),
        "ratio": [0.5, None, -1.25],
        "word": ["a", None, "ü,'\""],
        "day": pa.array([dt.date(2023, 2, 28), None, dt.date(1969, 12, 31)]),
        "at": pa.array(
            [dt.datetime(2023, 2, 28, 13, 0, 0, 123456, dt.UTC), None, None],
            pa.timestamp("us", "UTC"),
        ),
        "tags": [["x"], [], None],
        "place": ["a b", None, "c/d"],
    }
)


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    world = new_world(tmp_path_factory.mktemp("shared"), FakeClock())
    world.declare("orders", "every_type", "kept", "empty")
    world.write("east", "orders", numbers(1, 10))
    world.write("east", "orders", numbers(11, 20))
    world.write("east", "every_type", EVERY_TYPE, partition_by=["place"])
    world.write("east", "kept", numbers(1, 2), configuration={"delta.enableChangeDataFeed": "true"})
    world.write("east", "kept", numbers(3, 3))
    world.write("east", "empty", numbers(1, 1).slice(1))
    with served_gateway(world) as path:
        yield path


@pytest.fixture(autouse=True)
def _quiet_client():
    """The client's own libraries warn about one another."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def url(profile: str, table: str) -> str:
    return f"{profile}#shop.default.{table}"


def test_the_client_lists_everything(profile):
    client = delta_sharing.SharingClient(profile)
    assert [share.name for share in client.list_shares()] == ["shop"]
    tables = sorted(table.name for table in client.list_all_tables())
    assert tables == ["empty", "every_type", "kept", "orders"]
    schema = client.list_schemas(client.list_shares()[0])[0]
    assert sorted(table.name for table in client.list_tables(schema)) == tables


def test_it_loads_limits_and_travels_in_time(profile):
    orders = url(profile, "orders")
    assert sorted(delta_sharing.load_as_pandas(orders)["id"]) == list(range(1, 21))
    assert len(delta_sharing.load_as_pandas(orders, limit=7)) == 7
    assert sorted(delta_sharing.load_as_pandas(orders, version=0)["id"]) == list(range(1, 11))
    assert delta_sharing.get_table_version(orders) == 1
    assert delta_sharing.get_table_version(orders, "2000-01-01T00:00:00Z") == 0
    assert delta_sharing.get_table_protocol(orders).min_reader_version == 1
    assert delta_sharing.get_table_metadata(orders).num_files == 2


def test_it_loads_through_the_format_delta_too(profile):
    frame = delta_sharing.load_as_pandas(url(profile, "orders"), use_delta_format=True)
    assert sorted(frame["id"]) == list(range(1, 21))


def test_every_type_arrives(profile):
    frame = delta_sharing.load_as_pandas(url(profile, "every_type"), use_delta_format=True)
    loaded = pa.Table.from_pandas(frame).select(EVERY_TYPE.column_names).cast(EVERY_TYPE.schema)
    assert loaded.sort_by("id").to_pylist() == EVERY_TYPE.to_pylist()
    plain = delta_sharing.load_as_pandas(url(profile, "every_type")).sort_values("id")
    assert plain["word"].tolist() == ["a", None, "ü,'\""]
    assert plain["day"].tolist()[0] == dt.date(2023, 2, 28)
    assert plain["place"].tolist() == ["a b", None, "c/d"]


def test_an_empty_table_has_its_columns(profile):
    assert list(delta_sharing.load_as_pandas(url(profile, "empty")).columns) == [
        "id",
        "word",
        "half",
    ]


def test_hints_are_taken(profile):
    hint = json.dumps(
        {
            "op": "greaterThan",
            "children": [
                {"op": "column", "name": "id", "valueType": "int"},
                {"op": "literal", "value": "10", "valueType": "int"},
            ],
        }
    )
    frame = delta_sharing.load_as_pandas(url(profile, "orders"), jsonPredicateHints=hint)
    assert sorted(frame["id"]) == list(range(11, 21))


@pytest.mark.parametrize("use_delta_format", [False, True])
def test_it_loads_a_change_feed(profile, use_delta_format):
    frame = delta_sharing.load_table_changes_as_pandas(
        url(profile, "kept"), starting_version=0, use_delta_format=use_delta_format
    )
    changes = frame[["id", "_change_type", "_commit_version"]].sort_values("id").to_numpy().tolist()
    assert changes == [[1, "insert", 0], [2, "insert", 0], [3, "insert", 1]]


def test_duckdb_and_polars_read_the_files(profile, tmp_path):
    links = links_to_files(profile, "orders")
    assert pl.read_parquet(links)["id"].sort().to_list() == list(range(1, 21))
    assert pl.scan_parquet(links).select(pl.len()).collect().item() == 20
    frame = delta_sharing.load_as_pandas(url(profile, "orders"))  # noqa: F841 - DuckDB's
    assert duckdb.sql("select sum(id) from frame").fetchone() == (210,)
    for number, link in enumerate(links):
        (tmp_path / f"{number}.parquet").write_bytes(httpx.get(link).content)
    answer = duckdb.sql(f"select sum(id) from read_parquet('{tmp_path}/*.parquet')").fetchone()
    assert answer == (210,)


def links_to_files(profile: str, table: str) -> list[str]:
    known = json.loads(Path(profile).read_text())
    answer = httpx.post(
        f"{known['endpoint']}shares/shop/schemas/default/tables/{table}/query",
        json={},
        headers={"Authorization": f"Bearer {known['bearerToken']}"},
    )
    return [json.loads(line)["file"]["url"] for line in answer.text.splitlines()[2:]]


def test_files_of_a_bucket_come_by_its_own_links(new_bucket, tmp_path):
    bucket, options = new_bucket()
    world = bucket_world(tmp_path, bucket, options)
    world.declare("orders")
    world.write("east", "orders", numbers(1, 10), storage_options=options)
    with served_gateway(world) as profile:
        links = links_to_files(profile, "orders")
        assert links[0].startswith(options["aws_endpoint_url"])
        assert "X-Amz-Signature" in links[0]
        assert sorted(delta_sharing.load_as_pandas(url(profile, "orders"))["id"]) == list(
            range(1, 11)
        )


def bucket_world(base: Path, bucket: str, options: dict[str, str]) -> GatewayWorld:
    world = new_world(base, FakeClock())
    regions = {
        name: region.model_copy(update={"storage": f"{bucket}/{name}", "options": options})
        for name, region in world.settings.regions.items()
    }
    world.settings = world.settings.model_copy(update={"regions": regions})
    return world
