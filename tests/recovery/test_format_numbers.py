"""Whatever a version of Proa writes down says in which format; a later format is refused by name."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import types as t

from proa.autoloader import KnownFiles
from proa.autoloader.file_ref import FileRef
from proa.autoloader.schema import FileSchema, SchemaVersion, SchemaVersions
from proa.capture.heartbeat import Heartbeat, read_heartbeat, write_heartbeat
from proa.cdc.memory import Memory, MemoryStore
from proa.errors import DataError, SettingsError
from proa.landing import Manifest, Shipment, ShippedFile
from proa.recovery.control_record import ControlRecord, ControlStore
from proa.region.state.database import Database
from proa.runtime.checkpoint import Checkpoint, Plan
from proa.runtime.declared import DeclaredPipeline, read_declared, write_declared
from proa.storage import Store
from proa.testing import START

Act = Callable[[Store], object]


def write_manifest(store: Store, *, fold: int = 64) -> None:
    manifest = Manifest(store, "orders", fold=fold)
    manifest.refresh()
    file = ShippedFile(path="a", size=1, sha256="0" * 64, modified=START)
    manifest.append(Shipment(first=1, shipped_at=START, files=(file,)))
    manifest.compact()


def write_plan(store: Store) -> None:
    checkpoint = Checkpoint(store, fold=1)
    checkpoint.put(Plan(0, {}, "d"))
    checkpoint.mark_committed(0)


def write_known(store: Store) -> None:
    files = KnownFiles(store)
    files.record(0, [FileRef("a", 1, 1)])
    files.compact()


def write_schema(store: Store) -> None:
    SchemaVersions(store).put(SchemaVersion(0, FileSchema(t.StructType(), t.StructType())))


def control(store: Store) -> ControlStore:
    return ControlStore("main", {"third": (store.url, {})})


def write_control(store: Store) -> None:
    record = ControlRecord(
        number=1, group="main", epoch=1, active="east", at=START, who="t", sentence="s"
    )
    control(store).append(record)


def in_json(path: Path) -> None:
    text = path.read_text()
    start = text.index('"format":') + len('"format":')
    path.write_text(text[:start] + "9" + text[start:].lstrip())


def in_head(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8] = 99
    path.write_bytes(bytes(data))


def in_parquet(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"proa.format": b"99"}), path)


THINGS: dict[str, tuple[Act, Callable[[Path], None], str, Act]] = {
    "plan": (write_plan, in_json, "plans/*.json", lambda s: Checkpoint(s).read(0)),
    "folded plans": (write_plan, in_head, "history/*", lambda s: Checkpoint(s).plans(0)),
    "schema": (write_schema, in_json, "_schemas/*", lambda s: SchemaVersions(s).latest()),
    "known files": (write_known, in_head, "known/*", KnownFiles),
    "shipment": (
        write_manifest, in_json, "_proa/manifest/orders/*.json",
        lambda s: Manifest(s, "orders").refresh(),
    ),
    "manifest segment": (
        lambda s: write_manifest(s, fold=1), in_parquet, "_proa/manifest/orders/segments/*",
        lambda s: Manifest(s, "orders").table(),
    ),
    "declared tables": (
        lambda s: write_declared(s.url, {}, DeclaredPipeline({})), in_json, "system/declared.json",
        lambda s: read_declared(s.url, {}),
    ),
    "CDC memory": (
        lambda s: MemoryStore(s.url, {}).put(Memory(), 0), in_json, "_proa_cdc/memory/*",
        lambda s: MemoryStore(s.url, {}).read(1, 0),
    ),
    "heartbeat": (
        lambda s: write_heartbeat(s, "slot", Heartbeat(START, None)), in_json, "_proa_capture/*",
        lambda s: read_heartbeat(s, "slot"),
    ),
    "control record": (
        write_control, in_json, "_proa/control/main/*.json", lambda s: control(s).read()
    ),
}  # fmt: skip
"""How each thing is written, where its format number is, in which objects, and how it is read."""


@pytest.mark.parametrize("thing", THINGS)
def test_a_later_format_is_refused_and_the_way_out_is_named(tmp_path: Path, thing: str) -> None:
    write, renumber, objects, read = THINGS[thing]
    store = Store.open(str(tmp_path))
    write(store)
    assert read(store) is not None
    (path,) = tmp_path.glob(objects)
    renumber(path)
    with pytest.raises(DataError, match="version") as refusal:
        read(store)
    assert refusal.value.condition in {
        "UNSUPPORTED_FORMAT",
        "INVALID_MANIFEST",
        "INVALID_CONTROL_RECORD",
    }


def test_a_regions_state_of_a_later_version_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    Database.open(url).close()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    connection.close()
    with pytest.raises(SettingsError, match="written by another version of Proa"):
        Database.open(url)
