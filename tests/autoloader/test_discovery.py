"""Which files are found, on disk and on S3, and in what portions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from proa.autoloader.discovery import Place, discover, glob_to_regex
from proa.autoloader.known import KnownFiles
from proa.autoloader.loader import AutoLoader
from proa.autoloader.options import parse
from proa.errors import PipelineError
from proa.formats.folders import partition_values
from proa.graph.leaves import FilesLeaf
from proa.storage import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def zone(location):
    """Files in and around a folder, on disk and on S3."""
    store = Store.open(*location)
    for path in (
        "a/1.json",
        "a/2.csv",
        "b/deep/3.json",
        "day=1/_x=2/4.json",
        "_proa/manifest/5.json",
        "a/_hidden.json",
        "a/.hidden.json",
        "a/6.json._COPYING_",
    ):
        store.put(path, b"{}\n")
    return store


def names(store: Store, path: str, options: dict[str, str] | None = None) -> list[str]:
    parsed = parse({"cloudFiles.format": "json", **(options or {})}, schema_given=False)
    place = Place.of(store.url + path).resolve(store.options)
    backlog = discover(place, parsed, store.options, None, now=NOW)
    return sorted(file.path.removeprefix(store.url + "/") for file in backlog.take_all())


@pytest.mark.parametrize(
    ("path", "options", "found"),
    [
        ("", {}, ["a/1.json", "a/2.csv", "b/deep/3.json", "day=1/_x=2/4.json"]),
        ("/a", {}, ["a/1.json", "a/2.csv"]),
        ("/a/", {}, ["a/1.json", "a/2.csv"]),
        ("/*/*.json", {}, ["a/1.json"]),
        ("/{a,b}", {}, ["a/1.json", "a/2.csv", "b/deep/3.json"]),
        ("/[bc]/d*p", {}, ["b/deep/3.json"]),
        ("/a/?.csv", {}, ["a/2.csv"]),
        ("/a/1.json", {}, ["a/1.json"]),
        ("/nowhere", {}, []),
        ("", {"pathGlobFilter": "*.json"}, ["a/1.json", "b/deep/3.json", "day=1/_x=2/4.json"]),
        ("", {"modifiedAfter": "2999-01-01"}, []),
        ("", {"modifiedBefore": "2000-01-01T00:00:00Z"}, []),
    ],
)
def test_files_are_found_by_folder_glob_and_filter(zone, path, options, found):
    assert names(zone, path, options) == found


def test_looking_for_files_makes_no_folders(tmp_path):
    place = Place.of(str(tmp_path / "missing" / "*.json"))
    parsed = parse({"format": "json"}, schema_given=False)

    assert discover(place, parsed, {}, None, now=NOW).files == 0
    assert list(tmp_path.iterdir()) == []


def test_portions_are_oldest_first_within_both_limits(source):
    for number in range(5):
        source.write(f"{9 - number}.json", "x" * 10)
    for options, sizes in (
        ({"cloudFiles.maxFilesPerTrigger": "2"}, [2, 2, 1]),
        ({"cloudFiles.maxBytesPerTrigger": "25b"}, [2, 2, 1]),
        ({"cloudFiles.maxBytesPerTrigger": "1b"}, [1, 1, 1, 1, 1]),
        ({"maxFilesPerTrigger": "3", "maxBytesPerTrigger": "1k"}, [3, 2]),
    ):
        backlog = source.loader(options).discover(None)
        assert (backlog.files, backlog.bytes) == (5, 50)

        taken = []
        while files := backlog.take():
            taken.append([file.path.rsplit("/", 1)[1] for file in files])

        assert [len(files) for files in taken] == sizes
        assert [name for files in taken for name in files] == [
            "9.json",
            "8.json",
            "7.json",
            "6.json",
            "5.json",
        ]
        assert (backlog.files, backlog.bytes) == (0, 0)


def test_a_file_is_read_once_whatever_the_batches(source):
    source.write("1.json", '{"a": 1}\n')
    source.write("2.json", '{"a": 2}\n')
    options = {"cloudFiles.maxFilesPerTrigger": "1"}

    assert sorted(row["a"] for row in source.read(options)) == ["1", "2"]
    assert source.read(options) == []
    source.write("0.json", '{"a": 3}\n')
    assert [row["a"] for row in source.read(options)] == ["3"]


def test_what_was_there_before_the_first_start_stays_unread_for_ever(source):
    options = {"cloudFiles.includeExistingFiles": "false"}
    source.write("old.json", '{"a": "old"}\n')
    assert source.read(options) == []

    source.write("new.json", '{"a": "new"}\n')
    assert [row["a"] for row in source.read(options)] == ["new"]
    assert source.read({"cloudFiles.includeExistingFiles": "true"}) == []


def test_include_existing_files_counts_at_the_first_start_only(source):
    source.write("1.json", '{"a": 1}\n')
    loader = source.loader()
    loader.discover(KnownFiles(source.state))
    later = source.loader({"cloudFiles.includeExistingFiles": "false"})

    assert later.discover(KnownFiles(source.state)).files == 1


def test_an_overwritten_file_is_read_again_only_when_that_is_wanted(source):
    for options, again in (({}, []), ({"cloudFiles.allowOverwrites": "true"}, ["changed"])):
        name = f"{len(options)}.json"
        source.write(name, '{"a": "first"}\n')
        source.read({**options, "pathGlobFilter": name})
        source.write(name, '{"a": "changed"}\n')
        source.write("other", "")

        rows = source.read({**options, "pathGlobFilter": name})
        assert [row["a"] for row in rows] == again


def test_files_that_are_too_old_are_left_out(source):
    source.write("1.json", "{}\n")
    source.write("2.json", "{}\n")
    first, second = source.loader().discover(None).take()
    seconds = int(source.clock.now().timestamp() - second.modified / 1e6)
    for age, found in ((seconds - 1, ()), (seconds + 1, (second,)), (seconds + 9, (first, second))):
        assert source.loader({"maxFileAge": f"{age}s"}).discover(None).take() == found


def test_folders_names_make_columns_when_all_files_agree(source, by):
    source.write("day=2026-01-01/kind=a%20b/1.json", '{"x": 1, "day": "inside"}\n')
    source.write("day=__HIVE_DEFAULT_PARTITION__/kind=c/2.json", '{"x": 2}\n')
    hints = {"cloudFiles.schemaHints": "day date"}

    assert by(source.read(hints), "x") == [
        {
            "x": "1",
            "day": datetime(2026, 1, 1).date(),  # noqa: DTZ001 - a day
            "kind": "a b",
            "_rescued_data": '{"day":"inside","_file_path":"day=2026-01-01/kind=a%20b/1.json"}',
        },
        {"x": "2", "day": None, "kind": "c", "_rescued_data": None},
    ]


def test_partition_columns_can_be_named_or_switched_off(source):
    source.write("day=1/hour=2/1.json", '{"x": 1}\n')

    for columns, found in (("", ["x"]), ("day,year", ["x", "day", "year"])):
        loader = AutoLoader(
            FilesLeaf(
                "k",
                str(source.folder),
                {"format": "json", "partitionColumns": columns},
                streaming=False,
            ),
            state=None,
            storage_options={},
            clock=source.clock,
        )
        (row,) = source.engine.rows(
            loader.relation(source.engine, loader.discover(None).take_all())
        )
        assert list(row) == [*found, "_rescued_data"]
        assert row.get("year") is None


def test_recursive_look_up_makes_no_columns(source):
    source.write("day=1/1.json", '{"x": 1}\n')

    (row,) = source.read({"recursiveFileLookup": "true"})

    assert list(row) == ["x", "_rescued_data"]


def test_metadata_is_a_column_when_it_is_asked_for(source):
    source.write("1.json", '{"a": 1}\n')
    (row,) = source.read({"proa.metadata": "true"})

    (file,) = source.loader().discover(None).take()
    modified = datetime(1970, 1, 1) + timedelta(microseconds=file.modified)  # noqa: DTZ001 - UTC
    assert row["_metadata"] == {
        "file_path": str(source.folder / "1.json"),
        "file_name": "1.json",
        "file_size": 9,
        "file_block_start": 0,
        "file_block_length": 9,
        "file_modification_time": modified,
    }


def test_files_on_s3_are_read_by_the_workers(engine, s3_location, clock):
    store = Store.open(*s3_location)
    for name, content in (("1.json", '{"a": 1}\n'), ("2.json", '{"a": 2, "b": true}\n')):
        store.put(f"in/{name}", content.encode())
    loader = AutoLoader(
        FilesLeaf("k", f"{store.url}/in", {"cloudFiles.format": "json"}),
        state=store.child("state"),
        storage_options=store.options,
        clock=clock,
    )
    known = KnownFiles(store.child("state"))

    assert loader.base == f"{store.url}/in"
    files = loader.discover(known).take()
    rows = engine.rows(loader.relation(engine, files))
    loader.record(known, 0, files)

    assert sorted((row["a"], row["b"]) for row in rows if row["b"]) == [("2", "true")]
    assert len(rows) == 2
    assert loader.discover(known).files == 0


@pytest.mark.parametrize("glob", ["a[b", "a{b", "{a,{b}"])
def test_a_glob_with_an_open_bracket_is_refused(glob):
    with pytest.raises(PipelineError, match="closed"):
        glob_to_regex(glob)


def test_partition_values_are_unescaped():
    assert partition_values("/x/a=1%2F2/b=/f", "/x") == {"a": "1/2", "b": None}


def test_an_empty_load_path_is_refused():
    with pytest.raises(PipelineError, match="no path"):
        Place.of(" ")
