import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql.types import (
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
)

from changes import append, data_file
from proa.errors import ConflictError, DataError, UnavailableError
from proa.lake import Change, Committed, Table, commit_change, create_table
from proa.lake.commit import (
    STALE_FILES,
    begin_generation,
    describe_table,
    end_generation,
    replace_files,
)
from proa.lake.table_schema import merge_schemas
from proa.steps import Step, probing
from proa.storage import Store
from proa.testing import Fail, Fault, FaultProbe, Kill, Killed, LoseAnswer, When, every_fault

A = StructType([StructField("a", LongType())])
AB = StructType([StructField("a", LongType()), StructField("b", StringType())])


@pytest.fixture
def made(table: Table) -> Table:
    create_table(table, A)
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
    create_table(table, AB, partition_by=["b"], comment="said", properties={"quality": "gold"})
    seen = same(table)
    assert (seen.version, seen.generation, seen.is_empty, seen.count()) == (0, 0, True, 0)
    assert (seen.schema, seen.partition_by, seen.comment) == (AB, ("b",), "said")
    assert seen.properties == {"quality": "gold"}


def test_of_two_that_create_one_table_both_find_it(table: Table) -> None:
    other = Table.at(table.url, table.options)
    create_table(table, A)
    create_table(other, A)
    assert other.version == 0


def test_files_of_one_type_do_not_come_into_a_table_of_another(table: Table) -> None:
    short = StructType([StructField("a", IntegerType())])
    create_table(table, short)
    late = same(table)
    commit_change(table, replace(append(0, "x", flow="g"), schema=A))
    with pytest.raises(ConflictError) as refused:
        commit_change(late, replace(append(0, "y"), schema=short))
    assert refused.value.condition == STALE_FILES
    assert names(table) == ["x"]
    assert commit_change(late, replace(append(0, "y"), schema=A)).by_us


def test_a_batch_is_in_the_table_once_however_often_it_is_committed(made: Table) -> None:
    assert commit_change(made, append(0, "x")) == Committed(1, by_us=True)
    assert commit_change(made, append(0, "x")) == Committed(1, by_us=True)
    assert commit_change(same(made), append(0, "y", attempt="b")) == Committed(1, by_us=False)
    assert names(made) == ["x"]


def test_two_runners_at_the_same_batch_one_wins(made: Table) -> None:
    other = same(made)
    assert commit_change(made, append(0, "x", attempt="a")).by_us
    assert not commit_change(other, append(0, "y", attempt="b")).by_us
    assert names(other) == ["x"]


def test_two_flows_into_one_table_both_win(made: Table) -> None:
    other = same(made)
    commit_change(made, append(0, "x", flow="f"))
    commit_change(other, append(0, "y", flow="g"))
    assert names(made) == ["x", "y"]


@pytest.mark.parametrize("fault", [LoseAnswer(Step.COMMIT), Kill(Step.COMMIT, When.AFTER)], ids=str)
def test_a_commit_whose_answer_was_lost_has_happened_once(made: Table, fault) -> None:
    with probing(FaultProbe(fault)), contextlib.suppress(Killed):
        assert commit_change(made, append(0, "x")).by_us
    assert commit_change(same(made), append(0, "x")).by_us
    assert names(made) == ["x"]


def test_a_commit_that_failed_has_not_happened(made: Table) -> None:
    with probing(FaultProbe(Fail(Step.COMMIT))), pytest.raises(UnavailableError):
        commit_change(made, append(0, "x"))
    assert names(made) == []
    commit_change(made, append(0, "x"))
    assert names(made) == ["x"]


def test_an_overwrite_replaces_rows_and_columns(made: Table) -> None:
    commit_change(made, append(0, "x"))
    commit_change(made, Change("mv", 0, "a", 0, adds=[data_file("y")], replaces=True, schema=AB))
    assert (names(made), made.schema) == (["y"], AB)


def test_an_overwrite_may_bring_a_type_that_needs_a_feature(made: Table) -> None:
    naive = StructType([StructField("t", TimestampNTZType())])
    commit_change(made, Change("mv", 0, "a", 0, replaces=True, schema=naive))
    assert same(made).schema == naive


def test_files_can_be_taken_out(made: Table) -> None:
    commit_change(made, append(0, "x", "y"))
    commit_change(made, Change("cdc", 0, "a", 0, adds=[data_file("z")], removes=["x"]))
    assert names(made) == ["y", "z"]


def with_columns(
    change: Change, schema: StructType, partition_by: list[str] | None = None
) -> Change:
    return replace(change, schema=schema, partition_by=partition_by)


def test_files_that_a_merge_takes_out_must_still_be_there(made: Table) -> None:
    commit_change(made, append(0, "x", "y"))
    replace_files(made, ["x"], [data_file("compacted")])
    merge = Change("cdc", 0, "a", 0, adds=[data_file("z")], removes=["x"])
    with pytest.raises(ConflictError) as refused:
        commit_change(made, merge)
    assert refused.value.condition == STALE_FILES
    commit_change(made, replace(merge, removes=["compacted"]))
    assert names(made) == ["y", "z"]


def test_new_columns_come_in_the_commit_of_their_rows(made: Table) -> None:
    commit_change(made, append(0, "x"))
    commit_change(made, with_columns(append(1, "y"), AB))
    commit_change(made, with_columns(append(2, "z"), A))
    seen = same(made)
    assert (seen.schema, seen.version, names(seen)) == (AB, 3, ["x", "y", "z"])
    assert seen.schema_at(1) == A


def test_columns_added_by_two_at_once_are_both_there(made: Table) -> None:
    other = same(made)
    commit_change(made, with_columns(append(0, "x", flow="g"), AB))
    more = StructType([*A.fields, StructField("c", StringType())])
    commit_change(other, with_columns(append(0, "y"), more))
    assert (same(made).schema.names, names(made)) == (["a", "b", "c"], ["x", "y"])


@given(st.lists(st.sets(st.sampled_from("pqrs"), min_size=1), min_size=1), st.permutations("pqrs"))
def test_columns_are_in_the_querys_order_however_its_rows_were_cut(
    news: list[set[str]], order: list[str]
) -> None:
    """A query's columns only grow, and keep their order: the table has that of the last one."""
    seen: set[str] = set()
    table = StructType([])
    for more in news:
        seen |= more
        fields = [StructField(name, LongType()) for name in order if name in seen]
        nested = StructField("in", StructType(list(fields)))
        query = StructType([*fields, nested])
        table = merge_schemas(table, query, "t") if table.fields else query
    assert table == query


@pytest.mark.parametrize("fault", every_fault([Step.COMMIT, Step.TABLE_EVOLVE]), ids=str)
def test_columns_and_rows_are_added_once_whatever_happens(made: Table, fault: Fault) -> None:
    change = with_columns(append(0, "x"), AB)
    with probing(FaultProbe(fault)), contextlib.suppress(Killed, UnavailableError):
        commit_change(made, change)
    again = same(made)
    commit_change(again, change)
    assert (again.schema, again.version, names(again)) == (AB, 1, ["x"])


def test_partitions_change_only_while_there_are_no_rows(made: Table) -> None:
    commit_change(made, with_columns(append(0), AB, ["b"]))
    assert same(made).partition_by == ("b",)
    commit_change(made, append(1, "x"))
    with pytest.raises(DataError, match=r"partitioned by \['b'\] and the pipeline now says"):
        commit_change(made, with_columns(append(2, "y"), AB, []))
    whole = Change("mv", 0, "a", 0, [data_file("z")], replaces=True, schema=AB, partition_by=[])
    commit_change(made, whole)
    assert (same(made).partition_by, names(made)) == ((), ["z"])


def test_rows_stay_until_the_first_batch_of_a_full_refresh_takes_their_place(made: Table) -> None:
    commit_change(made, append(0, "x"))
    assert begin_generation(made, {"update": "u"}) == 1
    seen = same(made)
    assert (seen.generation, seen.wanted_generation, names(seen)) == (0, 1, ["x"])
    assert seen.commit_info(2).proa["update"] == "u"
    commit_change(made, with_columns(append(0, "y", generation=1), AB, ["b"]))
    commit_change(made, append(0, "z", flow="g", generation=1))
    seen = same(made)
    assert (seen.generation, seen.wanted_generation, names(seen)) == (1, 1, ["y", "z"])
    assert (seen.schema, seen.partition_by, seen.version) == (AB, ("b",), 4)


def test_a_full_refresh_without_rows_takes_the_old_ones_out(made: Table) -> None:
    commit_change(made, append(0, "x"))
    end_generation(made, {})
    assert names(made) == ["x"]
    begin_generation(made, {})
    for fault in (Fail(Step.COMMIT), LoseAnswer(Step.COMMIT)):
        with probing(FaultProbe(fault)), contextlib.suppress(UnavailableError):
            end_generation(made, {})
    end_generation(same(made), {})
    seen = same(made)
    assert (seen.generation, seen.is_empty, seen.version) == (1, True, 3)


def test_a_batch_of_an_older_generation_is_refused(made: Table) -> None:
    other = same(made)
    begin_generation(made, {})
    with pytest.raises(ConflictError, match=r"full refresh .* has begun while batch 0"):
        commit_change(other, append(0, "x"))
    assert names(made) == []


def test_a_full_refresh_whose_answer_was_lost_is_asked_for_once(made: Table) -> None:
    with probing(FaultProbe(LoseAnswer(Step.RESET))):
        assert begin_generation(made, {}) == 1
    assert same(made).wanted_generation == 1


def test_a_stream_sees_what_was_added(made: Table) -> None:
    for batch, path in enumerate("xyz"):
        commit_change(made, append(batch, path))
    assert made.added_between(1, 3) == [f"{made.url}/y", f"{made.url}/z"]
    assert made.added_between(3, 3) == []


def test_a_stream_stops_at_changed_rows_or_skips_them(made: Table) -> None:
    commit_change(made, append(0, "x"))
    commit_change(made, Change("cdc", 0, "a", 0, adds=[data_file("z")], removes=["x"]))
    commit_change(made, append(1, "y"))
    with pytest.raises(DataError, match=r"version 2 .* changed or removed rows"):
        made.added_between(0, 3)
    assert made.added_between(0, 3, skip_changes=True) == [f"{made.url}/{p}" for p in "xy"]


def test_a_stream_that_skips_changes_reads_what_a_full_refresh_brought(made: Table) -> None:
    commit_change(made, append(0, "x"))
    begin_generation(made, {})
    commit_change(made, append(0, "y", generation=1))
    assert made.added_between(0, 3, skip_changes=True) == [f"{made.url}/{p}" for p in "xy"]


def test_a_stream_that_fell_too_far_behind_is_told(made: Table) -> None:
    with pytest.raises(DataError, match="no longer has version 1"):
        made.added_between(0, 1)


def test_the_past_stays_readable(made: Table) -> None:
    commit_change(made, append(0, "x"))
    commit_change(made, with_columns(append(1, "y"), AB))
    assert [url.rsplit("/", 1)[1] for url in made.files(1)] == ["x"]
    assert (made.schema_at(1), made.count(1), made.count()) == (A, 1, 2)
    assert (made.transaction("proa:f:0", 1), made.transaction("proa:f:0")) == (0, 1)


def test_many_commits_are_folded_into_a_checkpoint_and_stay_true(tmp_path) -> None:
    table = Table.at(str(tmp_path / "t"))
    create_table(table, A, properties={"delta.checkpointInterval": "5"})
    for batch in range(12):
        commit_change(table, append(batch, f"f{batch}"))
    assert (tmp_path / "t" / "_delta_log" / "_last_checkpoint").exists()
    seen = same(table)
    assert (seen.count(), seen.transaction("proa:f:0")) == (12, 11)
    assert len(seen.added_between(0, 12)) == 12


def test_an_error_is_told_with_its_last_cause() -> None:
    said = "Kernel error -> S3\n  \x1b[31m↳\x1b[0m GET http://x\n    \x1b[31m↳\x1b[0m refused\n"
    table = Table("/t", {})
    with pytest.raises(UnavailableError, match=r"table '/t': Kernel .* S3: refused$"):  # noqa: SIM117
        with table.wrap_errors("read"):
            raise OSError(said)


def test_names_and_values_beyond_the_basic_plane_come_back_as_they_are(table: Table) -> None:
    # A reader of the log gets some surrogate pairs of JSON wrong: they are never written.
    word = "\U000e0000 \U000d0001 \U0001f600"
    create_table(table, AB, partition_by=["b"])
    file = replace(data_file(f"b={word}/x"), partition={"b": word})
    commit_change(table, Change(word, 3, "a", 0, adds=[file], metadata={"flow": word}))
    describe_table(table, word, {word: word})
    seen = same(table)
    assert (seen.transaction(word), seen.comment, seen.properties[word]) == (3, word, word)
    assert seen.files() == (f"{table.url}/b={word}/x",)
    values = seen.delta().get_add_actions(flatten=True).column("partition.b").to_pylist()
    assert values == [word]


class Calls:
    """Counts the reads of stores."""

    def __init__(self) -> None:
        self.reads = 0

    def before(self, step: Step) -> None:
        self.reads += step is Step.STORE_READ

    def after(self, step: Step) -> None:
        pass


def test_a_snapshot_in_a_bucket_is_looked_for_once_and_then_what_is_new(s3_location) -> None:
    url, options = s3_location
    table = Table.at(f"{url}/t", options)
    create_table(table, A)
    store = Store.open(table.url, options)
    files = []
    for number in range(30):
        store.put(f"f{number}", b"x")
        files.append(f"{table.url}/f{number}")
    calls = Calls()
    with probing(calls):
        table.check(files)
        assert calls.reads == 1
        table.check(files)
        assert calls.reads == 1
        store.put("more", b"x")
        table.check([*files, f"{table.url}/more"])
        assert calls.reads == 2
    store.delete("f7")
    with pytest.raises(DataError, match=r"f7' belongs to a table and is gone"):
        Table.at(table.url, options).check(files)


def test_a_version_that_was_read_is_not_opened_again(made: Table) -> None:
    for batch in range(9):
        commit_change(made, append(batch, f"f{batch}"))
    first = made.files(3)
    assert made.files(3) == first
    opened = {version: made._as_of(version) for version in (3, 4, 5)}
    assert all(made._as_of(version) is table for version, table in opened.items())
    assert made.count(9) == 9


@given(st.lists(st.tuples(st.sampled_from("fgh"), st.booleans()), min_size=1, max_size=12))
@settings(max_examples=15, deadline=None)
def test_what_is_known_of_transactions_is_what_the_log_says(tmp_path_factory, commits) -> None:
    ours = Table.at(str(tmp_path_factory.mktemp("t") / "t"))
    create_table(ours, A)
    others = same(ours)
    counts = dict.fromkeys("fgh", -1)
    for flow, is_ours in commits:
        counts[flow] += 1
        table = ours if is_ours else others
        table.refresh()
        commit_change(table, append(counts[flow], f"{flow}{counts[flow]}", flow=flow))
        for known in (ours, others):
            known.refresh()
            for name, count in counts.items():
                app = f"proa:{name}:0"
                assert known.transaction(app) == (None if count < 0 else count)
                assert known.transaction(app) == known.delta().transaction_version(app)
