"""A database's tables and all their changes become files, each change once, whatever fails."""

import contextlib
import csv
import json
import tracemalloc
from pathlib import Path

import numpy as np
import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from proa.capture import Capture
from proa.capture.capture import _problem
from proa.capture.dms_files import TableFile
from proa.capture.pgoutput import SourceColumn, SourceTable
from proa.capture.postgres import Postgres, SlotStatus, current_query
from proa.cli.main import run
from proa.demo.postgresql import postgresql
from proa.errors import DataError, SettingsError, UnavailableError
from proa.settings import CaptureSettings
from proa.steps import Step, probing
from proa.storage import Store
from proa.testing import FakeClock, FaultProbe, Kill, Killed, When, every_fault

STEPS = [Step.CAPTURE_PUT_STATE, Step.CAPTURE_PUT_FILE, Step.CAPTURE_ADVANCE]


class Source:
    """A source folder and what was captured into it."""

    def __init__(self, folder: Path, database: psycopg.Connection, **settings) -> None:
        self.folder = folder
        self.database = database
        info = database.info
        self.settings = CaptureSettings(
            connection=f"postgresql://proa@127.0.0.1:{info.port}/{info.dbname}",
            tables=("customer",),
            slot=f"slot_{info.dbname}",
            **settings,
        )

    def capture(self, *, reload: bool = False):
        return self.task().run(reload=reload)

    def task(self) -> Capture:
        return Capture(Store.open(str(self.folder)), self.settings, FakeClock())

    def ask_for(self, *tables: str) -> None:
        self.settings = self.settings.model_copy(update={"tables": tables})

    @property
    def state(self) -> Path:
        return self.folder / "_proa_capture" / f"{self.settings.slot}.json"

    def rows(self, table: str = "*") -> list[dict]:
        """All captured rows, in the order of their change sequence."""
        rows = []
        for path in sorted(self.folder.glob(f"public/{table}/*.csv")):
            with path.open(newline="") as file:
                rows += csv.DictReader(file)
        return sorted(rows, key=lambda row: row["change_seq"])

    def table(self, table: str) -> list[tuple]:
        """The table that the captured rows tell."""
        found: dict[str, dict] = {}
        for row in self.rows(table):
            if row["Op"] == "T":
                found.clear()
            elif row["Op"] == "D":
                found.pop(row["id"], None)
            else:
                found[row["id"]] = row
        return sorted((int(r["id"]), r["name"] or None, r["note"] or None) for r in found.values())

    def check(self, table: str = "customer") -> None:
        query = f"SELECT id, nullif(name, ''), nullif(note, '') FROM {table} ORDER BY id"
        assert self.table(table) == self.database.execute(query).fetchall()
        sequence = [row["change_seq"] for row in self.rows()]
        assert len(sequence) == len(set(sequence))


def open_connection(source: Source) -> psycopg.Connection:
    return psycopg.connect(source.settings.connection)


@pytest.fixture
def source(tmp_path, database) -> Source:
    database.execute("CREATE TABLE customer (id int PRIMARY KEY, name text, note text)")
    database.execute(
        "INSERT INTO customer SELECT i, 'name ' || i, NULL FROM generate_series(1, 5) i"
    )
    return Source(tmp_path, database)


def change(database: psycopg.Connection, seed: int) -> None:
    """Some transactions, the same for a seed."""
    luck = np.random.default_rng(seed)
    for _ in range(6):
        with database.transaction():
            for _ in range(luck.integers(1, 4)):
                key = int(luck.integers(1, 9))
                statement = str(
                    luck.choice(
                        [
                            "INSERT INTO customer VALUES (%s, %s, 'new') ON CONFLICT (id) DO UPDATE SET name = 'again'",
                            "UPDATE customer SET name = %s || id WHERE id = %s",
                            "DELETE FROM customer WHERE id = %s AND %s <> ''",
                        ]
                    )
                )
                text = str(luck.choice(['a "quoted", text', "two\nlines", "", "plain"]))
                values = [text, key] if statement.startswith("UPDATE") else [key, text]
                database.execute(statement, values)


def test_tables_are_loaded_as_they_are_and_changes_follow(source: Source) -> None:
    assert source.capture().loaded == ("customer",)
    source.check()
    change(source.database, 1)
    source.capture()
    source.check()
    assert source.capture().files == 0
    assert {row["Op"] for row in source.rows()} >= {"I", "U"}


def test_files_have_the_names_of_dms(source: Source) -> None:
    source.capture()
    source.database.execute("UPDATE customer SET name = 'x'")
    source.capture()
    source.database.execute("UPDATE customer SET name = 'y'")
    source.capture()
    names = [path.name for path in sorted(source.folder.glob("public/customer/*"))]
    assert names == ["20260101-000000000.csv", "20260101-000000001.csv", "LOAD00000001.csv"]


@pytest.mark.parametrize("fault", every_fault(STEPS), ids=str)
@pytest.mark.parametrize("loaded", [False, True], ids=["load", "changes"])
def test_each_change_is_captured_once_whatever_fails_where(source: Source, fault, loaded) -> None:
    if loaded:
        source.capture()
    change(source.database, 2)
    with contextlib.suppress(Killed, Exception), probing(FaultProbe(fault)):
        source.capture()
    change(source.database, 3)
    source.capture()
    source.check()


@pytest.mark.slow
def test_what_commits_while_tables_are_loaded_is_neither_lost_nor_repeated(source: Source) -> None:
    # The slot can begin only when the open transaction has ended; so it begins before.
    with pytest.raises(Killed), probing(FaultProbe(Kill(Step.CAPTURE_PUT_STATE, When.AFTER))):
        source.capture()
    with open_connection(source) as open_one:
        open_one.execute("UPDATE customer SET name = 'uncommitted' WHERE id = 1")
        source.database.execute("UPDATE customer SET name = 'seen' WHERE id = 2")
        source.capture()
        open_one.commit()
    source.capture()
    source.check()
    assert [(row["Op"], row["id"]) for row in source.rows()][5:] == [("U", "1")]


@pytest.fixture
def two_tables(source: Source) -> Source:
    """One table is captured, the other has rows and is not asked for."""
    source.capture()
    source.database.execute("CREATE TABLE late (id int PRIMARY KEY, name text, note text)")
    source.database.execute("INSERT INTO late VALUES (1, 'a', NULL), (2, 'b', NULL)")
    return source


@pytest.mark.slow
@pytest.mark.parametrize("fault", every_fault(STEPS), ids=str)
def test_a_table_that_joins_later_is_loaded_whatever_fails_where(two_tables, fault) -> None:
    change(two_tables.database, 4)
    two_tables.ask_for("customer", "late")
    with contextlib.suppress(Killed, Exception), probing(FaultProbe(fault)):
        two_tables.capture()
    two_tables.database.execute("DELETE FROM late WHERE id = 1")
    two_tables.database.execute("UPDATE late SET name = 'c' WHERE id = 2")
    change(two_tables.database, 5)
    two_tables.capture()
    two_tables.check("late")
    two_tables.check()


def test_a_table_that_joins_waits_for_the_transactions_that_write_to_it(two_tables) -> None:
    two_tables.ask_for("customer", "late")
    with open_connection(two_tables) as writer:
        writer.execute("INSERT INTO late VALUES (3, 'written before it was published', NULL)")
        with pytest.raises(UnavailableError, match=r"1 open transactions write to public\.late"):
            two_tables.capture()
        writer.commit()
    assert two_tables.capture().loaded == ("late",)
    two_tables.check("late")


def test_a_table_that_joins_waits_for_those_that_write_to_its_partitions(two_tables) -> None:
    two_tables.database.execute(
        "CREATE TABLE parts (id int PRIMARY KEY, name text, note text) PARTITION BY RANGE (id)"
    )
    two_tables.database.execute(
        "CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id)"
    )
    two_tables.database.execute("CREATE TABLE leaf PARTITION OF part FOR VALUES FROM (0) TO (100)")
    two_tables.ask_for("customer", "parts")
    with open_connection(two_tables) as writer:
        writer.execute("INSERT INTO leaf VALUES (3, 'written before it was published', NULL)")
        with pytest.raises(UnavailableError, match=r"1 open transactions write to public\.parts"):
            two_tables.capture()
        writer.commit()
    assert two_tables.capture().loaded == ("parts",)
    two_tables.check("parts")


def test_a_table_that_was_left_out_for_a_while_is_loaded_again(two_tables) -> None:
    two_tables.ask_for("customer", "late")
    two_tables.capture()
    two_tables.ask_for("customer")
    two_tables.database.execute("DELETE FROM late WHERE id = 1")
    two_tables.capture()
    two_tables.ask_for("late", "customer")
    assert two_tables.capture().loaded == ("late",)
    two_tables.check("late")
    assert [row["Op"] for row in two_tables.rows("late")] == ["I", "I", "T", "I"]


@pytest.mark.parametrize("files", ["none", "changes"])
def test_a_state_of_format_1_is_read_and_its_missing_tables_are_loaded(two_tables, files) -> None:
    two_tables.ask_for("customer", "late")
    if files == "changes":
        two_tables.capture()
        two_tables.database.execute("UPDATE late SET name = 'x' WHERE id = 2")
        two_tables.capture()
        (two_tables.folder / "public" / "late" / "LOAD00000002.csv").unlink()
    state = json.loads(two_tables.state.read_text())
    load = state["tables"]["public.customer"]
    del state["has_slot"], state["tables"]
    state |= {"format": 1, "start": state.pop("position") - 1, "loaded": load["is_done"]}
    state |= {key: load[key] for key in ("snapshot", "seen_until")}
    two_tables.state.write_text(json.dumps(state))
    change(two_tables.database, 6)
    assert two_tables.capture().loaded == ("late",)
    two_tables.check()
    two_tables.check("late")


def test_a_partitioned_table_is_captured_under_its_own_name(tmp_path, database) -> None:
    database.execute(
        "CREATE TABLE customer (id int PRIMARY KEY, name text, note text) PARTITION BY RANGE (id)"
    )
    database.execute("CREATE TABLE low PARTITION OF customer FOR VALUES FROM (0) TO (10)")
    database.execute("CREATE TABLE high PARTITION OF customer FOR VALUES FROM (10) TO (100)")
    database.execute("INSERT INTO customer VALUES (1, 'a', NULL), (11, 'b', NULL)")
    source = Source(tmp_path, database)
    source.capture()
    database.execute("UPDATE customer SET name = 'c'")
    database.execute("UPDATE customer SET id = 12 WHERE id = 1")
    database.execute("INSERT INTO customer VALUES (2, 'd', NULL)")
    source.capture()
    source.check()
    database.execute("ALTER PUBLICATION proa SET (publish_via_partition_root = false)")
    remedy = r"ALTER PUBLICATION proa SET \(publish_via_partition_root = true\)"
    with pytest.raises(SettingsError, match=remedy):
        source.capture()


@pytest.mark.parametrize("loss", ["dropped", "made anew", "moved"])
def test_a_slot_that_lost_changes_is_refused_until_tables_are_loaded_again(source, loss) -> None:
    source.capture()
    slot = source.settings.slot
    source.database.execute("DELETE FROM customer WHERE id = 1")
    if loss == "moved":
        source.database.execute(
            "SELECT pg_replication_slot_advance(%s, pg_current_wal_flush_lsn())", [slot]
        )
    else:
        source.database.execute("SELECT pg_drop_replication_slot(%s)", [slot])
    if loss == "made anew":
        source.database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
    for _ in range(2):
        with pytest.raises(SettingsError, match="proa capture --reload") as refusal:
            source.capture()
        assert refusal.value.condition == "CAPTURE_SLOT_LOST"
    assert source.capture(reload=True).loaded == ("customer",)
    source.check()
    change(source.database, 7)
    source.capture()
    source.check()


@pytest.mark.slow
@pytest.mark.parametrize("fault", every_fault(STEPS), ids=str)
def test_loading_again_survives_every_fault(source: Source, fault) -> None:
    source.capture()
    change(source.database, 8)
    with contextlib.suppress(Killed, Exception), probing(FaultProbe(fault)):
        source.capture()
    source.database.execute("DELETE FROM customer WHERE id = 2")
    with contextlib.suppress(Killed, Exception), probing(FaultProbe(fault)):
        source.capture(reload=True)
    change(source.database, 9)
    source.capture()
    source.check()


@pytest.mark.slow
def test_a_slot_whose_log_was_removed_and_one_that_a_crash_sets_back(tmp_path) -> None:
    with postgresql() as server:
        server.execute("CREATE TABLE customer (id int PRIMARY KEY, name text, note text)")
        server.execute("INSERT INTO customer VALUES (1, 'a', NULL), (2, 'b', NULL)")
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            source = Source(tmp_path, connection)
            source.capture()
            connection.execute("CHECKPOINT")
            change(connection, 10)
            source.capture()
        server.kill()
        server.start()
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            source.database = connection
            source.capture()
            source.check()
            connection.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("DELETE FROM customer")
            for _ in range(3):
                connection.execute("SELECT pg_switch_wal()")
                connection.execute("CREATE TABLE filler (a int)")
                connection.execute("DROP TABLE filler")
            connection.execute("CHECKPOINT")
            with pytest.raises(SettingsError, match="wal_status = 'lost'"):
                source.capture()
            source.capture(reload=True)
            source.check()


def test_a_changed_key_a_truncation_and_a_large_value_are_told(source: Source) -> None:
    source.capture()
    database = source.database
    database.execute(
        "UPDATE customer SET note = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 4000) i) WHERE id = 3"
    )
    database.execute("UPDATE customer SET name = 'small' WHERE id = 3")
    database.execute("UPDATE customer SET id = 30 WHERE id = 4")
    source.capture()
    source.check()
    database.execute("TRUNCATE customer")
    database.execute("INSERT INTO customer VALUES (1, 'after', NULL)")
    source.capture()
    source.check()
    assert [row["Op"] for row in source.rows()][-2:] == ["T", "I"]


def test_other_tables_of_the_publication_are_left_out(source: Source) -> None:
    source.capture()
    source.database.execute("CREATE TABLE other (id int PRIMARY KEY)")
    source.database.execute("ALTER PUBLICATION proa ADD TABLE other")
    source.database.execute("INSERT INTO other VALUES (1)")
    assert source.capture().files == 0
    source.database.execute("UPDATE customer SET name = 'x' WHERE id = 1")
    assert source.capture().files == 1
    assert not (source.folder / "public" / "other").exists()
    source.check()


def test_a_new_column_begins_a_new_file(source: Source) -> None:
    source.capture()
    source.database.execute("UPDATE customer SET name = 'old' WHERE id = 1")
    source.database.execute("ALTER TABLE customer ADD COLUMN more int")
    source.database.execute("UPDATE customer SET more = 7 WHERE id = 1")
    assert source.capture().files == 2
    assert [row.get("more") for row in source.rows()][-2:] == [None, "7"]


def test_parquet_files_have_the_columns_types(tmp_path, database) -> None:
    import pyarrow.parquet as pq

    database.execute(
        "CREATE TABLE customer (id bigint PRIMARY KEY, name text, note numeric(10, 2), at timestamptz, ok bool, day date)"
    )
    row = "(1, '', 1.50, '2026-01-02 03:04:05.678+02', true, '2026-01-02')"
    database.execute(f"INSERT INTO customer VALUES {row}")
    source = Source(tmp_path, database, format="parquet")
    source.capture()
    database.execute("UPDATE customer SET ok = false, name = NULL")
    source.capture()
    tables = [pq.read_table(path) for path in sorted(tmp_path.glob("public/customer/*.parquet"))]
    assert tables[0].schema.equals(tables[1].schema)
    assert [str(kind) for kind in tables[0].schema.types][1:7] == [
        "int64",
        "string",
        "decimal128(10, 2)",
        "timestamp[us, tz=UTC]",
        "bool",
        "date32[day]",
    ]
    assert [(t["name"][0].as_py(), t["ok"][0].as_py()) for t in tables] == [
        (None, False),
        ("", True),
    ]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("timestamptz", "infinity"),
        ("timestamp", "-infinity"),
        ("date", "0044-03-15 BC"),
        ("date", "12026-01-01"),
        ("numeric(10, 2)", "NaN"),
    ],
)
@pytest.mark.parametrize("loaded", [False, True], ids=["load", "changes"])
def test_a_value_that_parquet_has_not_is_refused_by_its_column(
    tmp_path, database, kind, value, loaded
) -> None:
    database.execute(f"CREATE TABLE customer (id int PRIMARY KEY, name text, note {kind})")
    source = Source(tmp_path, database, format="parquet")
    if loaded:
        source.capture()
    database.execute("INSERT INTO customer VALUES (1, 'a', %s)", [value])
    for _ in range(2):
        with pytest.raises(DataError, match=r"column 'note' of public\.customer") as refused:
            source.capture()
        assert refused.value.condition == "CAPTURE_VALUE_REFUSED"
        assert "proa capture --reload" in str(refused.value)
    database.execute("UPDATE customer SET note = NULL")
    assert source.capture(reload=True).loaded == ("customer",)
    database.execute("UPDATE customer SET name = 'b'")
    assert source.capture().changes == 1


def test_numbers_that_are_none_and_infinite_ones_are_parquet(tmp_path, database) -> None:
    import pyarrow.parquet as pq

    database.execute("CREATE TABLE customer (id int PRIMARY KEY, a float8, b float4)")
    database.execute("INSERT INTO customer VALUES (1, 'NaN', 'Infinity')")
    Source(tmp_path, database, format="parquet").capture()
    (path,) = tmp_path.glob("public/customer/*.parquet")
    (row,) = pq.read_table(path).to_pylist()
    assert (str(row["a"]), row["b"]) == ("nan", float("inf"))


LARGE = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 400) i)"


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("int", "7"),
        ("text", "it's"),
        ("char(5)", "ab"),
        ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("timestamptz", "2026-01-02 03:04:05.678+02"),
        ("numeric", "1.50"),
        ("float8", "0.1"),
        ("boolean", "true"),
        ("bytea", "\\x00ff"),
        ("int[]", "{1,2}"),
    ],
)
def test_a_large_value_that_was_not_sent_is_found_by_a_key_of_any_type(
    tmp_path, database, kind, key
) -> None:
    database.execute(f"CREATE TABLE customer (id {kind} PRIMARY KEY, name text, note text)")
    database.execute("ALTER TABLE customer ALTER note SET STORAGE EXTERNAL")
    source = Source(tmp_path, database)
    source.capture()
    database.execute(f"INSERT INTO customer VALUES (%s, 'a', {LARGE})", [key])
    database.execute("UPDATE customer SET name = 'b'")
    source.capture()
    assert [(row["name"], len(row["note"])) for row in source.rows()] == [
        ("a", 12800),
        ("b", 12800),
    ]
    with Postgres(source.settings.connection, "proa", "").open_connection() as connection:
        table = Postgres("", "", "").columns(connection, "customer")
        query = current_query(table, (key, None, None))
        connection.execute("SET enable_seqscan = off")
        plan = str(connection.execute(sql.SQL("EXPLAIN ") + query).fetchall())
    assert "customer_pkey" in plan


def test_a_key_that_is_large_itself_is_not_asked_for(source: Source) -> None:
    source.database.execute("DROP TABLE customer")
    source.database.execute("CREATE TABLE customer (id text PRIMARY KEY, name text, note text)")
    for column in ("id", "note"):
        source.database.execute(f"ALTER TABLE customer ALTER {column} SET STORAGE EXTERNAL")
    source.capture()
    source.database.execute(f"INSERT INTO customer VALUES (repeat('k', 2100), 'a', {LARGE})")
    source.database.execute("UPDATE customer SET name = 'b'")
    source.capture()
    rows = [(row["Op"], row["id"], len(row["note"])) for row in source.rows()]
    assert rows == [("I", "k" * 2100, 12800), ("U", "k" * 2100, 12800)]


@pytest.mark.parametrize("primary", ["", " PRIMARY KEY"], ids=["no primary key", "another key"])
def test_the_key_is_that_of_the_replica_identity(tmp_path, database, primary) -> None:
    database.execute(
        f"CREATE TABLE customer (other int{primary}, id int NOT NULL, name text, note text)"
    )
    database.execute("CREATE UNIQUE INDEX by_id ON customer (id) INCLUDE (name)")
    database.execute("ALTER TABLE customer REPLICA IDENTITY USING INDEX by_id")
    database.execute("INSERT INTO customer VALUES (1, 1, 'a', NULL), (2, 2, 'b', NULL)")
    source = Source(tmp_path, database)
    source.capture()
    database.execute("UPDATE customer SET name = 'c', other = 10 WHERE id = 1")
    database.execute("UPDATE customer SET id = 20, name = 'd' WHERE id = 2")
    database.execute("DELETE FROM customer WHERE id = 1")
    source.capture()
    source.check()
    changes = [(row["Op"], row["id"]) for row in source.rows()][2:]
    assert changes == [("U", "1"), ("D", "2"), ("I", "20"), ("D", "1")]


def test_a_database_that_is_not_prepared_is_told_what_to_run(source: Source) -> None:
    source.database.execute("CREATE TABLE keyless (a int)")
    source.database.execute("CREATE TABLE untold (a int PRIMARY KEY)")
    source.database.execute("ALTER TABLE untold REPLICA IDENTITY NOTHING")
    for table in ("keyless", "untold"):
        source.ask_for("customer", table)
        remedy = rf"ALTER TABLE public\.{table} REPLICA IDENTITY FULL"
        with pytest.raises(SettingsError, match=remedy):
            source.capture()
        # Nor was it published: then the database would refuse what its owner does.
        source.database.execute(f"INSERT INTO {table} VALUES (1)")
        source.database.execute(f"UPDATE {table} SET a = 2")


@pytest.mark.slow
def test_the_command_captures_the_only_source_and_names_it_otherwise(
    source, tmp_path, capsys
) -> None:
    (tmp_path / "source").mkdir()
    url, slot = source.settings.connection, source.settings.slot
    (tmp_path / "proa.yml").write_text(
        "regions: {east: {landing_zone: zone, storage: store}}\nsources:\n  shop:\n    path: source\n"
        f"    capture: {{connection: '{url}', slot: {slot}, tables: [customer]}}\n"
    )
    assert run(["capture", "--once", "--project", str(tmp_path)]) == 0
    assert "shop: 0 changes in 1 files, customer loaded" in capsys.readouterr().out
    source.database.execute("UPDATE customer SET name = 'x'")
    capsys.readouterr()
    assert run(["capture", "--status", "--json", "--project", str(tmp_path)]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["source"], status["loaded"], status["to_load"], status["problem"]) == (
        "shop",
        ["public.customer"],
        [],
        None,
    )
    assert status["slot"]["kept_bytes"] >= status["slot"]["lag_bytes"] > 0
    assert status["age_s"] >= 0
    assert run(["capture", "--status", "--project", str(tmp_path)]) == 0
    assert "1 tables loaded" in capsys.readouterr().out
    source.database.execute("SELECT pg_drop_replication_slot(%s)", [slot])
    assert run(["capture", "--status", "--project", str(tmp_path)]) == 1
    assert "--reload" in capsys.readouterr().err
    assert run(["capture", "other", "--once", "--project", str(tmp_path)]) == 2
    assert "proa.yml has shop" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("captured", ["load", "transaction"])
def test_what_is_larger_than_the_memory_is_captured_in_one_piece(source: Source, captured) -> None:
    """The memory that Python takes is a fraction of the 40 MB that are captured."""
    if captured == "transaction":
        source.capture()
    source.database.execute("ALTER TABLE customer ALTER note SET STORAGE PLAIN")
    source.database.execute(
        "INSERT INTO customer SELECT i, 'name', repeat(i::text || ' ', 200)"
        " FROM generate_series(100001, 130000) i"
    )
    tracemalloc.start()
    try:
        report = source.capture()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = sum(path.stat().st_size for path in source.folder.glob("public/customer/*"))
    assert size > 40_000_000
    assert peak < 16_000_000
    assert report.files == 1
    assert len(source.rows()) == 30_005
    source.check()


def test_a_status_is_told_before_anything_is_captured_and_of_each_slot(source: Source) -> None:
    status = source.task().status()
    assert (status.slot, status.last_look, status.problem) == (None, None, None)
    assert status.to_load == ("public.customer",)
    assert not [*source.folder.iterdir()]
    source.capture()
    status = source.task().status()
    assert (status.loaded, status.age_s, status.problem) == (("public.customer",), 0.0, None)


@pytest.mark.parametrize("slot", ["kept", "dropped"])
def test_files_without_a_state_are_refused_until_tables_are_loaded_again(source, slot) -> None:
    source.capture()
    change(source.database, 5)
    source.capture()
    files = {path: path.read_bytes() for path in source.folder.glob("public/customer/*")}
    source.state.unlink()
    source.database.execute("DELETE FROM customer WHERE id = 2")
    source.database.execute("INSERT INTO customer VALUES (70, 'new', NULL)")
    if slot == "dropped":
        source.database.execute("SELECT pg_drop_replication_slot(%s)", [source.settings.slot])
    with pytest.raises(SettingsError, match="proa capture --reload"):
        source.capture()
    assert source.capture(reload=True).loaded == ("customer",)
    change(source.database, 6)
    source.capture()
    source.check()
    assert all(path.read_bytes() == content for path, content in files.items())


@pytest.mark.parametrize(
    ("wal_status", "remedy"),
    [
        ("reserved", None),
        ("extended", None),
        ("unreserved", "proa capture --once"),
        ("lost", "proa capture --reload"),
    ],
)
def test_log_that_is_or_will_be_removed_is_a_problem_with_a_remedy(wal_status, remedy) -> None:
    problem = _problem(SlotStatus(1, 2, 3, wal_status, None), has_slot=True, name="proa")
    assert problem is None if remedy is None else remedy in problem


def test_a_value_larger_than_a_block_is_parquet(tmp_path) -> None:
    columns = (SourceColumn("id", 23, -1, is_key=True), SourceColumn("note", 25, -1, is_key=False))
    file = TableFile(tmp_path / "0", SourceTable(1, "public", "customer", columns))
    texts = ["x\n" * 3_000_000, "", None]
    for number, text in enumerate(texts):
        file.add(["I", str(number), text, "2026-01-01 00:00:00.000000", f"{number:035d}"])
    file.become_parquet()
    rows = pq.read_table(file.path)
    assert rows["id"].to_pylist() == [0, 1, 2]
    assert rows["note"].to_pylist() == texts


def test_a_database_of_another_kind_is_refused_with_a_remedy():
    with pytest.raises(SettingsError, match=r"begins with mysql://.*proa ship") as refused:
        Postgres("mysql://proa:secret@db/shop", "proa", "proa")
    assert refused.value.condition == "UNSUPPORTED_FEATURE"
    assert "secret" not in str(refused.value)
