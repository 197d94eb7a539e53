import contextlib
from dataclasses import replace

import pytest
from changes import append, data_file
from pyspark.sql.types import (
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
)

from proa.errors import ConflictError, DataError, UnavailableError
from proa.lake import Change, Committed, Table
from proa.steps import Step, probing
from proa.testing import Fail, FaultProbe, Kill, Killed, LoseAnswer, When

A = StructType([StructField("a", LongType())])
AB = StructType([StructField("a", LongType()), StructField("b", StringType())])


@pytest.fixture
def made(table: Table) -> Table:
    table.create(A)
    return table


def same(table: Table) -> Table:
    """The table as another runner sees it."""
    other = Table.at(table.url, table.options)
    other.refresh()
    return other


def names(table: Table) -> list[str]:
    table.refresh()
    return [url.rsplit("/", 1)[1] for url in table.files()]


def test_a_table_that_is_not_there_has_no_version(table: Table) -> None:
    assert (table.refresh(), table.exists, table.version) == (None, False, -1)


def test_a_new_table_is_empty_and_in_generation_0(table: Table) -> None:
    table.create(AB, partition_by=["b"], comment="said", properties={"quality": "gold"})
    seen = same(table)
    assert (seen.version, seen.generation, seen.is_empty, seen.count()) == (0, 0, True, 0)
    assert (seen.schema, seen.partition_by, seen.comment) == (AB, ("b",), "said")
    assert seen.properties == {"quality": "gold"}


def test_of_two_that_create_one_table_both_find_it(table: Table) -> None:
    other = Table.at(table.url, table.options)
    table.create(A)
    other.create(A)
    assert other.version == 0


def test_files_of_one_type_do_not_come_into_a_table_of_another(table: Table) -> None:
    short = StructType([StructField("a", IntegerType())])
    table.create(short)
    late = same(table)
    table.evolve(A)
    with pytest.raises(ConflictError) as refused:
        late.commit(replace(append(0, "x"), schema=short))
    assert refused.value.condition == "TYPES_CHANGED"
    assert names(table) == []
    assert table.commit(replace(append(0, "x"), schema=A)).by_us


def test_a_batch_is_in_the_table_once_however_often_it_is_committed(made: Table) -> None:
    assert made.commit(append(0, "x")) == Committed(1, by_us=True)
    assert made.commit(append(0, "x")) == Committed(1, by_us=True)
    assert same(made).commit(append(0, "y", attempt="b")) == Committed(1, by_us=False)
    assert names(made) == ["x"]


def test_two_runners_at_the_same_batch_one_wins(made: Table) -> None:
    other = same(made)
    assert made.commit(append(0, "x", attempt="a")).by_us
    assert not other.commit(append(0, "y", attempt="b")).by_us
    assert names(other) == ["x"]


def test_two_flows_into_one_table_both_win(made: Table) -> None:
    other = same(made)
    made.commit(append(0, "x", flow="f"))
    other.commit(append(0, "y", flow="g"))
    assert names(made) == ["x", "y"]


@pytest.mark.parametrize("fault", [LoseAnswer(Step.COMMIT), Kill(Step.COMMIT, When.AFTER)], ids=str)
def test_a_commit_whose_answer_was_lost_has_happened_once(made: Table, fault) -> None:
    with probing(FaultProbe(fault)), contextlib.suppress(Killed):
        assert made.commit(append(0, "x")).by_us
    assert same(made).commit(append(0, "x")).by_us
    assert names(made) == ["x"]


def test_a_commit_that_failed_has_not_happened(made: Table) -> None:
    with probing(FaultProbe(Fail(Step.COMMIT))), pytest.raises(UnavailableError):
        made.commit(append(0, "x"))
    assert names(made) == []
    made.commit(append(0, "x"))
    assert names(made) == ["x"]


def test_an_overwrite_replaces_rows_and_columns(made: Table) -> None:
    made.commit(append(0, "x"))
    made.commit(Change("mv", 0, "a", 0, adds=[data_file("y")], overwrite=True, schema=AB))
    assert (names(made), made.schema) == (["y"], AB)


def test_an_overwrite_may_bring_a_type_that_needs_a_feature(made: Table) -> None:
    naive = StructType([StructField("t", TimestampNTZType())])
    made.commit(Change("mv", 0, "a", 0, overwrite=True, schema=naive))
    assert same(made).schema == naive


def test_files_can_be_taken_out(made: Table) -> None:
    made.commit(append(0, "x", "y"))
    made.commit(Change("cdc", 0, "a", 0, adds=[data_file("z")], removes=["x"]))
    assert names(made) == ["y", "z"]


def test_columns_can_be_added(made: Table) -> None:
    made.commit(append(0, "x"))
    made.evolve(AB)
    made.evolve(AB)
    seen = same(made)
    assert (seen.schema, seen.version, names(seen)) == (AB, 2, ["x"])


def test_columns_added_by_two_at_once_conflict(made: Table) -> None:
    other = same(made)
    made.evolve(AB)
    with pytest.raises(ConflictError):
        other.evolve(AB)
    assert other.schema == AB


@pytest.mark.parametrize("when", list(When))
def test_columns_are_added_once_when_killed(made: Table, when: When) -> None:
    with probing(FaultProbe(Kill(Step.TABLE_EVOLVE, when))), pytest.raises(Killed):
        made.evolve(AB)
    again = same(made)
    again.evolve(AB)
    assert (again.schema, again.version) == (AB, 1)


def test_a_lost_answer_to_new_columns_is_looked_up(made: Table) -> None:
    with probing(FaultProbe(LoseAnswer(Step.TABLE_EVOLVE))):
        made.evolve(AB)
    assert (made.schema, made.version) == (AB, 1)


def test_partitions_change_only_while_there_are_no_rows(made: Table) -> None:
    made.evolve(AB, partition_by=["b"])
    assert same(made).partition_by == ("b",)
    made.commit(append(0, "x"))
    with pytest.raises(DataError, match=r"partitioned by \['b'\] and the pipeline now says"):
        made.evolve(AB, partition_by=[])


def test_a_reset_takes_all_rows_and_begins_a_generation(made: Table) -> None:
    made.commit(append(0, "x"))
    assert made.reset({"update": "u"}) == 1
    seen = same(made)
    assert (seen.generation, seen.is_empty, seen.commit_info(2).proa["update"]) == (1, True, "u")


def test_a_batch_of_an_older_generation_is_refused(made: Table) -> None:
    other = same(made)
    made.reset({})
    with pytest.raises(ConflictError, match="fully refreshed while batch 0"):
        other.commit(append(0, "x"))
    assert names(made) == []


def test_a_reset_whose_answer_was_lost_has_happened_once(made: Table) -> None:
    with probing(FaultProbe(LoseAnswer(Step.RESET))):
        assert made.reset({}) == 1
    assert same(made).generation == 1


def test_a_stream_sees_what_was_added(made: Table) -> None:
    for batch, path in enumerate("xyz"):
        made.commit(append(batch, path))
    assert made.added_between(1, 3) == [f"{made.url}/y", f"{made.url}/z"]
    assert made.added_between(3, 3) == []


def test_a_stream_stops_at_changed_rows_or_skips_them(made: Table) -> None:
    made.commit(append(0, "x"))
    made.reset({})
    made.commit(append(0, "y", generation=1))
    with pytest.raises(DataError, match=r"version 2 .* changed or removed rows"):
        made.added_between(0, 3)
    assert made.added_between(0, 3, skip_changes=True) == [f"{made.url}/{p}" for p in "xy"]


def test_a_stream_that_fell_too_far_behind_is_told(made: Table) -> None:
    with pytest.raises(DataError, match="no longer has version 1"):
        made.added_between(0, 1)


def test_the_past_stays_readable(made: Table) -> None:
    made.commit(append(0, "x"))
    made.evolve(AB)
    made.commit(append(1, "y"))
    assert [url.rsplit("/", 1)[1] for url in made.files(1)] == ["x"]
    assert (made.schema_at(1), made.count(1), made.count()) == (A, 1, 2)
    assert (made.transaction("proa:f:0", 1), made.transaction("proa:f:0")) == (0, 1)


def test_many_commits_are_folded_into_a_checkpoint_and_stay_true(tmp_path) -> None:
    table = Table.at(str(tmp_path / "t"))
    table.create(A, properties={"delta.checkpointInterval": "5"})
    for batch in range(12):
        table.commit(append(batch, f"f{batch}"))
    assert (tmp_path / "t" / "_delta_log" / "_last_checkpoint").exists()
    seen = same(table)
    assert (seen.count(), seen.transaction("proa:f:0")) == (12, 11)
    assert len(seen.added_between(0, 12)) == 12


def test_an_error_is_told_with_its_last_cause() -> None:
    said = "Kernel error -> S3\n  \x1b[31m↳\x1b[0m GET http://x\n    \x1b[31m↳\x1b[0m refused\n"
    table = Table("/t", {})
    with pytest.raises(UnavailableError, match=r"table '/t': Kernel .* S3: refused$"):  # noqa: SIM117
        with table._wrapped("read"):
            raise OSError(said)
