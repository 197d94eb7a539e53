"""The demo's second act is true, its proof can fail, and it leaves nothing in a database."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from killing import pause_until
from proa.cli.main import app
from proa.clock import SystemClock
from proa.demo import ShopDemo
from proa.demo.postgresql import postgresql
from proa.demo.shop import Shop
from proa.errors import SettingsError, UnavailableError

REGIONS = {"us-east", "us-west"}


@pytest.fixture(scope="module")
def url():
    with postgresql() as server:
        server.execute("CREATE DATABASE shop")
        yield server.url("shop")


@pytest.mark.slow
def test_tables_are_as_the_database_in_both_regions_and_a_difference_is_noticed(tmp_path, url):
    demo = ShopDemo(tmp_path, SystemClock(), lambda *_: None, database=url, seconds=10)
    with demo, demo.open_shop() as shop:
        demo.play()
        report = demo.prove()
        assert report.proven, report
        assert all(set(proof.different) == REGIONS for proof in report.tables.values())
        assert report.tables["order history"].rows > report.tables["orders"].rows

        with shop.connect() as connection:
            connection.execute("UPDATE orders SET amount = amount + 1 WHERE id % 100 = 7")
        different = tables_that_differ(demo)
        assert different == {
            "orders": REGIONS,
            "order history": REGIONS,
            "daily_revenue": REGIONS,
        }

        storage = Path(demo.settings.region("us-west").storage)
        DeltaTable(storage / "tables" / "customers").delete("id % 10 = 3")
        assert tables_that_differ(demo) == {**different, "customers": {"us-west"}}
    with psycopg.connect(url) as connection:
        assert left_behind(connection) == []


def tables_that_differ(demo: ShopDemo) -> dict[str, set[str]]:
    report = demo.prove()
    assert not report.proven
    differing = {
        name: {region for region, number in proof.different.items() if number}
        for name, proof in report.tables.items()
    }
    return {name: regions for name, regions in differing.items() if regions}


def left_behind(connection: psycopg.Connection) -> list[str]:
    query = """SELECT nspname::text FROM pg_namespace WHERE nspname = 'proa_shop'
        UNION ALL SELECT pubname::text FROM pg_publication
        UNION ALL SELECT slot_name::text FROM pg_replication_slots"""
    return [name for (name,) in connection.execute(query).fetchall()]


@pytest.mark.slow
def test_what_a_killed_shop_left_is_cleared_and_two_shops_do_not_share_a_database(url):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA proa_shop CREATE TABLE customers (id int)")
        connection.execute("CREATE PUBLICATION proa_shop")
        connection.execute("SELECT pg_create_logical_replication_slot('proa_shop', 'pgoutput')")
        with Shop(url, SystemClock()).open_tables() as _:
            assert left_behind(connection) == ["proa_shop"]
            with (
                pytest.raises(SettingsError, match="another demo"),
                Shop(url, SystemClock()).open_tables(),
            ):
                pass
        assert left_behind(connection) == []


@pytest.mark.slow
def test_a_shop_that_cannot_write_says_so_and_is_cleared(url):
    shop = Shop(url, SystemClock())
    with shop.open_tables():
        with shop.connect() as connection:
            connection.execute("DROP TABLE orders CASCADE")
        shop.work()
        with pytest.raises(UnavailableError, match=r"stopped after \d+ transactions"):
            pause_until(shop.check, "the shop goes on without its table")
    with psycopg.connect(url) as connection:
        assert left_behind(connection) == []


@pytest.mark.slow
def test_a_database_that_is_not_prepared_is_refused_with_what_to_run(tmp_path):
    with postgresql(wal_level="replica") as server:
        done = CliRunner().invoke(
            app, ["demo", "--cdc", "--keep", str(tmp_path / "x"), "--database", server.url()]
        )
    assert isinstance(done.exception, SettingsError)
    assert "ALTER SYSTEM SET wal_level" in str(done.exception)


def test_options_of_the_shop_need_the_shop():
    done = CliRunner().invoke(app, ["demo", "--seconds", "5"])
    assert "add --cdc" in str(done.exception)


def test_a_database_that_does_not_answer_is_named():
    done = CliRunner().invoke(app, ["demo", "--cdc", "--database", "postgresql://127.0.0.1:1/shop"])
    assert isinstance(done.exception, UnavailableError)
    assert "the database does not answer" in str(done.exception)
