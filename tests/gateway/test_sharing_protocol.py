"""The Delta Sharing protocol, without a server: what is listed, told, refused."""

from __future__ import annotations

import json
import urllib.parse

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gateway_world import TABLES, lines_of, new_world, numbers

from proa.gateway.shared_versions import SPAN

DELTA = {"delta-sharing-capabilities": "responseformat=delta;readerfeatures=deletionvectors"}


@pytest.fixture
def shop(world):
    """Orders in two files, a private table, and one that was never computed."""
    world.declare("orders", "secret", "planned", private=("secret",))
    world.write("east", "orders", numbers(1, 10))
    world.write("east", "orders", numbers(11, 20))
    world.write("east", "secret", numbers(1, 1))
    world.look()
    return world


@pytest.fixture
def client(shop):
    return shop.client()


def rows_behind(client, lines) -> list[int]:
    """The ids in the files that an answer links to."""
    found: list[int] = []
    for line in lines:
        if "file" in line:
            url = line["file"].get("url") or line["file"]["deltaSingleAction"]["add"]["path"]
            answer = client.get(url, headers={"Authorization": ""})
            assert answer.status_code == 200, answer.text
            found += pq.read_table(pa.BufferReader(answer.content))["id"].to_pylist()
    return sorted(found)


# -- lists ------------------------------------------------------------------------------------------


def test_one_share_of_the_public_tables_that_are_there_is_what_there_is_by_default(client):
    shares = client.get("/delta-sharing/shares").json()
    assert [share["name"] for share in shares["items"]] == ["shop"]
    schemas = client.get("/delta-sharing/shares/shop/schemas").json()
    assert schemas == {"items": [{"name": "default", "share": "shop"}]}
    tables = client.get("/delta-sharing/shares/shop/all-tables").json()["items"]
    assert [(table["schema"], table["name"]) for table in tables] == [("default", "orders")]
    assert client.get(TABLES).json()["items"] == tables
    assert client.get("/delta-sharing/shares/shop").json()["share"] == shares["items"][0]


def test_names_are_found_in_any_case(client):
    assert client.get("/delta-sharing/shares/SHOP/schemas/Default/tables/ORDERS/version").is_success


def test_lists_come_in_pages_and_the_last_has_no_token(tmp_path, clock):
    world = new_world(tmp_path, clock)
    names = [f"t{number}" for number in range(5)]
    world.declare(*names)
    for name in names:
        world.write("east", name, numbers(1, 1))
    world.look()
    client = world.client()
    found, token, pages = [], None, 0
    while pages == 0 or token:
        query = {"maxResults": 2, **({"pageToken": token} if token else {})}
        page = client.get("/delta-sharing/shares/shop/all-tables", params=query).json()
        found += [table["name"] for table in page["items"]]
        token, pages = page.get("nextPageToken"), pages + 1
    assert (found, pages) == (names, 3)
    nothing = client.get("/delta-sharing/shares/shop/all-tables", params={"maxResults": 0}).json()
    assert nothing["items"] == []
    assert nothing["nextPageToken"]
    bad = client.get("/delta-sharing/shares", params={"pageToken": "x"})
    assert (bad.status_code, bad.json()["errorCode"]) == (400, "INVALID_PARAMETER_VALUE")


def test_shares_of_the_settings_hold_the_tables_they_name(tmp_path, clock):
    world = new_world(
        tmp_path, clock, shares={"sales": ("Orders",), "all": ("orders", "shop2.items")}
    )
    world.declare("orders", "shop2.items", "other", schema="retail")
    for name in ("orders", "shop2.items", "other"):
        world.write("east", name, numbers(1, 1))
    world.look()
    client = world.client()
    assert [s["name"] for s in client.get("/delta-sharing/shares").json()["items"]] == [
        "all",
        "sales",
    ]
    tables = client.get("/delta-sharing/shares/all/all-tables").json()["items"]
    assert [(t["schema"], t["name"]) for t in tables] == [("retail", "orders"), ("shop2", "items")]
    assert (
        tables[0]["id"]
        == client.get("/delta-sharing/shares/sales/all-tables").json()["items"][0]["id"]
    )


# -- who may --------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic YTpi"])
def test_without_a_good_token_nothing_is_told(shop, header):
    answer = shop.client().get("/delta-sharing/shares", headers={"Authorization": header})
    assert (answer.status_code, answer.json()["errorCode"]) == (401, "UNAUTHENTICATED")


def test_a_token_that_is_over_or_removed_is_no_token(shop):
    _, text = shop.gateway.recipients.add("bob", lifetime_s=60)
    assert shop.client(text).get("/delta-sharing/shares").is_success
    shop.clock.advance(61)
    assert shop.client(text).get("/delta-sharing/shares").status_code == 401
    assert shop.gateway.recipients.remove("ada") == 1
    assert shop.client().get("/delta-sharing/shares").status_code == 401


def test_tokens_are_kept_as_hashes(shop):
    kept = [path.read_text() for path in (shop.base / "state" / "recipients").iterdir()]
    assert kept
    assert not any(shop.token in text for text in kept)


def test_a_recipient_reads_the_shares_it_was_given(shop):
    _, text = shop.gateway.recipients.add("bob", ["other"])
    client = shop.client(text)
    assert client.get("/delta-sharing/shares").json()["items"] == []
    for path in ("/delta-sharing/shares/shop/all-tables", f"{TABLES}/orders/version"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["errorCode"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    "path",
    [
        "/delta-sharing/shares/none/schemas",
        "/delta-sharing/shares/shop/schemas/none/tables",
        "/delta-sharing/shares/shop/schemas/default/tables/none/metadata",
        f"{TABLES}/secret/metadata",
        f"{TABLES}/planned/version",
    ],
)
def test_what_is_not_shared_is_not_there(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.json()["errorCode"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_other_paths_are_not_found(client):
    assert client.get("/delta-sharing/shares/shop/unknown").status_code == 404
    assert client.delete("/delta-sharing/shares").status_code == 405


# -- tables -----------------------------------------------------------------------------------------


def test_version_metadata_and_files(client):
    for answer in (client.get(f"{TABLES}/orders/version"), client.head(f"{TABLES}/orders")):
        assert answer.headers["delta-table-version"] == "1"
    answer = client.get(f"{TABLES}/orders/metadata")
    protocol, metadata = lines_of(answer)
    assert answer.headers["content-type"] == "application/x-ndjson; charset=utf-8"
    assert answer.headers["delta-sharing-capabilities"] == "responseformat=parquet"
    assert protocol == {"protocol": {"minReaderVersion": 1}}
    fields = json.loads(metadata["metaData"]["schemaString"])["fields"]
    assert [field["name"] for field in fields] == ["id", "word", "half"]
    assert metadata["metaData"]["format"] == {"provider": "parquet"}
    answer = client.post(f"{TABLES}/orders/query", json={})
    lines = lines_of(answer)
    assert answer.headers["delta-table-version"] == "1"
    assert rows_behind(client, lines) == list(range(1, 21))
    assert lines[1]["metaData"]["numFiles"] == 2
    stats = json.loads(lines[2]["file"]["stats"])
    assert stats["numRecords"] == 10
    assert set(stats["minValues"]) == {"id", "word", "half"}


def test_a_query_needs_no_body(client):
    assert rows_behind(client, lines_of(client.post(f"{TABLES}/orders/query"))) == list(
        range(1, 21)
    )


def test_the_format_delta_wraps_delta_actions(client):
    answer = client.post(f"{TABLES}/orders/query", json={}, headers=DELTA)
    assert answer.headers["delta-sharing-capabilities"] == "responseformat=delta"
    protocol, metadata, *files = lines_of(answer)
    assert protocol["protocol"]["deltaProtocol"]["minReaderVersion"] == 1
    assert metadata["metaData"]["deltaMetadata"]["partitionColumns"] == []
    assert rows_behind(client, files) == list(range(1, 21))


def test_of_both_formats_the_plain_one_is_taken(client):
    both = {"delta-sharing-capabilities": "responseFormat=delta,parquet"}
    answer = client.get(f"{TABLES}/orders/metadata", headers=both)
    assert answer.headers["delta-sharing-capabilities"] == "responseformat=parquet"


def test_an_end_is_told_to_those_who_ask_for_it(client):
    asks = {"delta-sharing-capabilities": "includeEndStreamAction=true"}
    answer = client.post(f"{TABLES}/orders/query", json={}, headers=asks)
    assert "includeendstreamaction=true" in answer.headers["delta-sharing-capabilities"]
    assert lines_of(answer)[-1]["endStreamAction"]["minUrlExpirationTimestamp"] > 0


def test_file_ids_stay_and_links_do_not(shop, client):
    first = lines_of(client.post(f"{TABLES}/orders/query", json={}))
    shop.clock.advance(10)
    second = lines_of(client.post(f"{TABLES}/orders/query", json={}))
    assert [line["file"]["id"] for line in first[2:]] == [line["file"]["id"] for line in second[2:]]
    assert first[2]["file"]["url"] != second[2]["file"]["url"]


# -- time travel and hints --------------------------------------------------------------------------


def test_older_versions_are_read_by_number_and_by_time(client):
    lines = lines_of(client.post(f"{TABLES}/orders/query", json={"version": 0}))
    assert rows_behind(client, lines) == list(range(1, 11))
    assert lines[2]["file"]["version"] == 0
    from_then = client.post(f"{TABLES}/orders/query", json={"timestamp": "2999-01-01T00:00:00Z"})
    assert from_then.headers["delta-table-version"] == "1"
    since = client.get(
        f"{TABLES}/orders/version", params={"startingTimestamp": "2000-01-01T00:00:00Z"}
    )
    assert since.headers["delta-table-version"] == "0"


@pytest.mark.parametrize(
    "body",
    [
        {"version": 2},
        {"version": SPAN},
        {"version": 0, "timestamp": "2999-01-01T00:00:00Z"},
        {"timestamp": "yesterday"},
        {"timestamp": "2000-01-01T00:00:00Z"},
        {"version": -1},
        {"limitHint": "many"},
        {"startingVersion": 7},
    ],
)
def test_what_makes_no_sense_is_refused_in_words(client, body):
    answer = client.post(f"{TABLES}/orders/query", json=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_PARAMETER_VALUE")
    assert answer.json()["message"]


def test_no_version_since_a_time_to_come(client):
    query = {"startingTimestamp": "2999-01-01T00:00:00Z"}
    assert client.get(f"{TABLES}/orders/version", params=query).status_code == 400


@pytest.mark.parametrize(
    ("body", "files"),
    [
        ({"limitHint": 10}, 1),
        ({"limitHint": 11}, 2),
        ({"limitHint": 0}, 0),
        ({"predicateHints": ["id > 10"]}, 1),
        ({"predicateHints": ["nonsense ((", "id <= 10"]}, 1),
        ({"predicateHints": ["'w011' <= word", "id > 3"]}, 1),
        ({"predicateHints": ["id IS NULL"]}, 0),
        ({"predicateHints": ["unknown = 1"]}, 2),
        ({"jsonPredicateHints": "{"}, 2),
        (
            {
                "jsonPredicateHints": json.dumps(
                    {
                        "op": "lessThan",
                        "children": [
                            {"op": "column", "name": "id", "valueType": "int"},
                            {"op": "literal", "value": "5", "valueType": "int"},
                        ],
                    }
                )
            },
            1,
        ),
    ],
)
def test_hints_leave_files_out(client, body, files):
    lines = lines_of(client.post(f"{TABLES}/orders/query", json=body))
    assert len(lines) - 2 == files


# -- changes ----------------------------------------------------------------------------------------


def test_files_that_came_are_told_by_version(client):
    lines = lines_of(client.post(f"{TABLES}/orders/query", json={"startingVersion": 0}))
    added = [line["add"] for line in lines if "add" in line]
    assert [add["version"] for add in added] == [0, 1]
    assert all(add["timestamp"] and add["expirationTimestamp"] for add in added)
    only = lines_of(
        client.post(f"{TABLES}/orders/query", json={"startingVersion": 1, "endingVersion": 9})
    )
    assert [line["add"]["version"] for line in only if "add" in line] == [1]


def test_a_table_without_a_change_feed_says_so(client):
    answer = client.get(f"{TABLES}/orders/changes", params={"startingVersion": 0})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "delta.enableChangeDataFeed" in answer.json()["message"]


def test_a_change_feed_is_told_in_both_formats(shop):
    shop.declare("orders", "kept")
    on = {"configuration": {"delta.enableChangeDataFeed": "true"}}
    shop.write("east", "kept", numbers(1, 2), **on)
    shop.write("east", "kept", numbers(3, 3))
    shop.write("east", "kept", numbers(1, 1), mode="overwrite")
    shop.look()
    client = shop.client()
    query = {"startingVersion": 0}
    answer = client.get(f"{TABLES}/kept/changes", params=query)
    assert answer.headers["delta-table-version"] == "0"
    changes = [next(iter(line)) for line in lines_of(answer)[2:]]
    assert sorted(changes) == ["add", "add", "add", "remove", "remove"]
    delta = lines_of(client.get(f"{TABLES}/kept/changes", params=query, headers=DELTA))
    assert delta[1]["metaData"]["version"] == 0
    kinds = [next(iter(line["file"]["deltaSingleAction"])) for line in delta[2:]]
    assert kinds == changes
    for bad in ({}, {"startingVersion": 1, "startingTimestamp": "2000-01-01T00:00:00Z"}):
        assert client.get(f"{TABLES}/kept/changes", params=bad).status_code == 400


# -- links ------------------------------------------------------------------------------------------


def link_to_a_file(client) -> str:
    return lines_of(client.post(f"{TABLES}/orders/query", json={}))[2]["file"]["url"]


def test_a_link_is_good_for_a_while_and_for_one_file(shop, client):
    url = link_to_a_file(client)
    parts = urllib.parse.urlsplit(url)
    assert parts.path.endswith(".parquet")
    ranged = client.get(url, headers={"Authorization": "", "Range": "bytes=0-3"})
    assert (ranged.status_code, ranged.content) == (206, b"PAR1")
    assert client.head(url).status_code == 200
    other = parts._replace(path=parts.path.replace("orders", "secret")).geturl()
    longer = url.replace("until=1", "until=2")
    for forged in (other, longer, url[:-1] + ("0" if url[-1] != "0" else "1")):
        answer = client.get(forged)
        assert (answer.status_code, answer.json()["errorCode"]) == (403, "PERMISSION_DENIED")
    shop.clock.advance(3601)
    assert client.get(url, headers={"Authorization": ""}).status_code == 403


def test_links_name_the_address_of_the_load_balancer(tmp_path, clock):
    world = new_world(tmp_path, clock, address="https://data.example.com/")
    world.declare("orders")
    world.write("east", "orders", numbers(1, 1))
    world.look()
    assert link_to_a_file(world.client()).startswith(
        "https://data.example.com/delta-sharing/files/"
    )


def test_partitions_with_any_value_are_read(shop):
    shop.declare("orders", "parted")
    rows = pa.table({"id": [1, 2, 3], "place": ["a/b c%", "ü=1", None]})
    shop.write("east", "parted", rows, partition_by=["place"])
    shop.look()
    client = shop.client()
    lines = lines_of(client.post(f"{TABLES}/parted/query", json={}))
    assert rows_behind(client, lines) == [1, 2, 3]
    values = sorted(line["file"]["partitionValues"]["place"] for line in lines[2:])
    assert values == ["", "a/b c%", "ü=1"]
    hint = {"predicateHints": ["place = 'a/b c%'"]}
    assert rows_behind(client, lines_of(client.post(f"{TABLES}/parted/query", json=hint))) == [1]


def test_times_without_zone_need_the_format_delta(shop):
    shop.declare("orders", "zoneless")
    shop.write("east", "zoneless", pa.table({"id": [1], "at": pa.array([0], pa.timestamp("us"))}))
    shop.look()
    client = shop.client()
    assert client.get(f"{TABLES}/zoneless/metadata").status_code == 400
    knows = {
        "delta-sharing-capabilities": "responseformat=delta,parquet;readerfeatures=timestampntz"
    }
    answer = client.get(f"{TABLES}/zoneless/metadata", headers=knows)
    assert answer.headers["delta-sharing-capabilities"] == "responseformat=delta"
