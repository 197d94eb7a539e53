"""AUTO CDC with every type that a table can hold: as a key, as the sequence, as a value."""

from __future__ import annotations

import pytest
from small_projects import Project, ok

from proa.lake import Table

pytestmark = pytest.mark.slow

VALUES = {
    "boolean": "n % 2 = 0",
    "tinyint": "CAST(n AS TINYINT)",
    "int": "CAST(n AS INT)",
    "bigint": "CAST(n AS BIGINT)",
    "float": "CAST(n / 2 AS FLOAT)",
    "double": "CAST(n AS DOUBLE) / 3",
    "decimal(38,10)": "CAST(n AS DECIMAL(38,10))",
    "string": "concat('text ', n)",
    "binary": "CAST(concat('b', n) AS BINARY)",
    "date": "date_add(DATE '2026-01-01', CAST(n AS INT))",
    "timestamp": "timestamp_seconds(1767225600 + n)",
    "timestamp_ntz": "CAST(timestamp_seconds(1767225600 + n) AS TIMESTAMP_NTZ)",
    "array<string>": "array(concat('a', n), NULL)",
    "map<string,bigint>": "map('k', CAST(n AS BIGINT))",
    "struct<a:bigint,b:struct<c:string>>": "named_struct('a', CAST(n AS BIGINT), 'b', named_struct('c', concat('c', n)))",
    "array<struct<x:bigint>>": "array(named_struct('x', CAST(n AS BIGINT)))",
}
ORDERED = [
    kind
    for kind in VALUES
    if kind.split("<")[0] not in {"boolean", "array", "map", "struct", "tinyint"}
]

SOURCE = """
@dp.table
def changes():
    return spark.readStream.format("cloudFiles").option("cloudFiles.format", "json").option(
        "cloudFiles.schemaHints", "id long, n long, d boolean").load(
        spark.conf.get("landing_zone") + "/changes").selectExpr({columns})

dp.create_streaming_table("target")
dp.create_auto_cdc_flow("target", "changes", {keys}, {sequence}, apply_as_deletes="d",
    except_column_list=["d", "n"], stored_as_scd_type={scd}{more})
"""


def run(project: Project, columns: dict[str, str], keys, sequence, *, scd=1, more="") -> list[dict]:
    """Two batches: changes 1 to 4, then a late one, a repetition and a newer one."""
    picked = ", ".join(repr(f"{text} AS {name}") for name, text in columns.items())
    project.write(
        SOURCE.format(columns=picked, keys=keys, sequence=repr(sequence), scd=scd, more=more)
    )
    batches = [[(1, 1), (2, 2), (1, 3), (3, 4)], [(1, 2), (1, 3), (2, 9), (3, 8)]]
    for number, batch in enumerate(batches):
        project.land(
            f"changes/{number}.json",
            [{"id": i, "n": n, "d": (i, n) == (3, 8)} for i, n in batch],
        )
        ok(project.run())
    return project.table("target").to_pyarrow_table().to_pylist()


@pytest.mark.parametrize("scd", [1, 2])
def test_a_value_of_any_type_is_kept(project: Project, scd) -> None:
    values = {f"v{number}": text for number, text in enumerate(VALUES.values())}
    rows = run(project, {"id": "id", "n": "n", "d": "d", **values}, ["id"], "n", scd=scd)
    current = [row for row in rows if row.get("__END_AT") is None]
    assert sorted(row["id"] for row in current) == [1, 2]
    schema = Table.at(f"{project.storage}/tables/target").schema
    assert [schema[name].dataType.simpleString() for name in values] == list(VALUES)
    assert all(row[name] is not None for row in rows for name in values)


@pytest.mark.parametrize("kind", ORDERED)
def test_a_key_of_any_type_finds_its_row(project: Project, kind) -> None:
    columns = {
        "k": VALUES[kind].replace("n", "id")
        if kind == "string"
        else VALUES[kind].replace("(n ", "(id ").replace("+ n", "+ id"),
        "n": "n",
        "d": "d",
        "v": "n",
    }
    if kind == "string":
        columns["k"] = "concat('text ', id)"
    if kind == "binary":
        columns["k"] = "CAST(concat('b', id) AS BINARY)"
    rows = run(project, columns, ["k"], "n", scd=2)
    assert sorted(row["v"] for row in rows if row.get("__END_AT") is None) == [3, 9]


@pytest.mark.parametrize("kind", [*ORDERED, "struct"])
def test_a_sequence_of_any_type_orders_changes(project: Project, kind) -> None:
    text = "named_struct('n', n, 'm', CAST(NULL AS STRING))" if kind == "struct" else VALUES[kind]
    columns = {"id": "id", "n": "n", "d": "d", "v": "n", "seq": text}
    rows = run(project, columns, ["id"], "seq", scd=2)
    assert sorted(row["v"] for row in rows if row.get("__END_AT") is None) == [3, 9]


def test_several_keys_with_odd_names_partitions_and_case(project: Project) -> None:
    columns = {"`the Key`": "id", "`b-c`": "'x'", "n": "n", "d": "d", "Value": "n"}
    rows = run(
        project,
        columns,
        ["the key", "b-c"],
        "n",
        scd=2,
        more=", track_history_column_list=['VALUE']",
    )
    assert sorted(row["Value"] for row in rows if row["__END_AT"] is None) == [3, 9]


def test_null_keeps_fields_inside_structs(project: Project) -> None:
    inside = (
        "named_struct('x', IF(n = 3, NULL, n), 'y', IF(n = 2, 'two', IF(n = 3, 'three', NULL)))"
    )
    columns = {"id": "id", "n": "n", "d": "d", "s": inside, "v": "IF(n = 3, NULL, n)"}
    rows = run(project, columns, ["id"], "n", more=", ignore_null_updates=True")
    assert sorted((r["id"], r["s"]["x"], r["s"]["y"], r["v"]) for r in rows) == [
        (1, 2, "three", 2),
        (2, 9, "two", 9),
    ]


def test_changes_name_the_columns_that_they_set(project: Project) -> None:
    columns = {
        "id": "id",
        "n": "n",
        "d": "d",
        "v": "IF(n = 9, NULL, n)",
        "w": "n",
        "u": "IF(n = 3, array('w'), IF(n = 9, array('V'), NULL))",
    }
    rows = run(project, columns, ["id"], "n", more=", columns_to_update='u'")
    assert sorted((r["id"], r["v"], r["w"]) for r in rows) == [(1, 2, 3), (2, None, 2)]
