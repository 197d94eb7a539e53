"""One behaviour suite for every kind of object store."""

from __future__ import annotations

import hashlib
import resource
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proa.errors import ConflictError, DataError, SettingsError, UnavailableError, UnknownOutcome
from proa.storage import NotFoundError, Store, absolute, is_url

NAMES = [
    "plain.json",
    "two words.json",
    "ü/日本.json",
    "100%.json",
    "%41.json",
    "a#b.json",
    "a?b&c=d+e.json",
    "date=2026-01-01/part-0.json",
    "quo'te\".json",
    "[x]*{y}.json",
    ".hidden/_private",
]


def paths(store: Store, prefix: str = "") -> list[str]:
    return sorted(info.path for info in store.walk(prefix))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_kept_as_it_is(store: Store, name: str):
    store.create(name, b"1")
    assert store.get(name) == b"1"
    assert paths(store) == [name]
    store.delete(name)
    assert not store.exists(name)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"),
        max_size=40,
        min_size=1,
    ).filter(lambda name: name not in {".", ".."})
)
def test_any_name_is_kept_or_refused_with_its_reason(tmp_path: Path, name: str):
    store = Store.open(str(tmp_path))
    try:
        store.put(name, b"1")
    except DataError:
        assert paths(store) == []
    else:
        assert paths(store) == [name]
        store.delete(name)


@pytest.mark.parametrize("name", ["tab\there", "a//b", "../up", "./here"])
def test_a_name_that_stores_do_not_take_is_refused(store: Store, name: str):
    with pytest.raises(DataError, match="rename"):
        store.put(name, b"1")


def test_a_temporary_name_is_refused_on_disk(tmp_path: Path):
    with pytest.raises(DataError, match="rename"):
        Store.open(str(tmp_path)).put("x#1", b"1")


def test_create_refuses_to_replace(store: Store):
    store.create("a", b"first")
    with pytest.raises(ConflictError, match="exists already"):
        store.create("a", b"second")
    assert store.get("a") == b"first"


def test_of_many_creators_at_once_exactly_one_wins(store: Store):
    won: list[int] = []
    ready = threading.Barrier(8)

    def create(number: int) -> None:
        ready.wait()
        try:
            store.create("one", str(number).encode())
        except ConflictError:
            return
        won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(number).encode() for number in won] == [store.get("one")]


def test_put_replaces(store: Store):
    store.put("a", b"first")
    store.put("a", b"second")
    assert store.get("a") == b"second"


def test_an_empty_object_is_an_object(store: Store):
    store.create("empty", b"")
    assert store.get("empty") == b""
    assert list(store.chunks("empty")) == []
    assert store.head("empty").size == 0


def test_missing_objects_are_not_found(store: Store):
    for look in (store.get, store.head, lambda path: list(store.chunks(path))):
        with pytest.raises(NotFoundError, match=r"there is no object '.*missing/x'"):
            look("missing/x")
    assert store.exists("missing/x") is False
    store.delete("missing/x")


def test_a_large_object_streams_in_and_out(store: Store):
    block = bytes(range(256)) * 4096
    store.create_from("large", (block for _ in range(12)), 12 * len(block))
    digest, sizes = hashlib.sha256(), []
    for chunk in store.chunks("large"):
        digest.update(chunk)
        sizes.append(len(chunk))
    assert digest.digest() == hashlib.sha256(block * 12).digest()
    assert len(sizes) > 1


@pytest.mark.parametrize("size", [10, 80 * 1024 * 1024])
def test_a_stream_that_fails_leaves_nothing(store: Store, size: int):
    def chunks():
        yield b"some"
        raise DataError("the source changed")

    with pytest.raises(DataError, match="the source changed"):
        store.create_from("x", chunks(), size)
    assert paths(store) == []


@pytest.mark.slow
def test_a_huge_stream_is_created_once(store: Store):
    block = bytes(1024 * 1024)
    size = 65 * len(block)
    store.create_from("huge", (block for _ in range(65)), size)
    assert store.head("huge").size == size
    with pytest.raises(ConflictError):
        store.create_from("huge", (block for _ in range(65)), size)


def test_listing_goes_down_and_stays_within_the_folder(store: Store):
    for name in ("a/1", "a/b/2", "ab/3", "4"):
        store.put(name, b"x")
    assert paths(store) == ["4", "a/1", "a/b/2", "ab/3"]
    assert paths(store, "a") == ["a/1", "a/b/2"]
    assert paths(store, "missing") == []
    assert paths(store.child("a")) == ["1", "b/2"]
    assert store.folders() == ["a", "ab"]
    assert store.folders("a") == ["b"]


@pytest.mark.slow
def test_a_listing_of_thousands_is_complete(location: tuple[str, dict[str, str]]):
    store = Store.open(*location)
    names = [f"many/{number:05d}" for number in range(1050)]
    with_threads(store, names)
    assert paths(store, "many") == names
    after = sorted(info.path for info in store.walk("many", start_after=names[1039]))
    assert after == names[1040:]


def with_threads(store: Store, names: list[str]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: store.put(name, b"x"), names))


def test_a_listing_tells_size_and_time(store: Store):
    store.put("a", b"12345")
    (info,) = store.walk()
    assert (info.path, info.size) == ("a", 5)
    assert info.modified.tzinfo is not None


def test_a_place_that_cannot_be_made_is_unavailable():
    with pytest.raises(UnavailableError, match="cannot open the storage location"):
        Store.open("/proc/proa/zone")


def test_a_folder_in_the_way_is_unavailable_on_disk(tmp_path: Path):
    store = Store.open(str(tmp_path))
    store.put("file", b"x")
    with pytest.raises(UnavailableError, match="cannot write"):
        store.put("file/below", b"x")


def test_a_full_disk_is_unavailable_and_leaves_nothing(tmp_path: Path):
    store = Store.open(str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UnavailableError, match=r"cannot write '.*/big'"):
            store.create("big", bytes(1024 * 1024))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert paths(store) == []


def test_a_dead_endpoint_is_unavailable_soon():
    options = {
        "aws_endpoint_url": "http://127.0.0.1:1",
        "aws_access_key_id": "x",
        "aws_secret_access_key": "x",
        "aws_region": "us-east-1",
        "aws_allow_http": "true",
    }
    started = time.monotonic()
    with pytest.raises(UnavailableError, match="cannot read 's3://gone/x'"):
        Store.open("s3://gone", options).get("x")
    assert time.monotonic() - started < 10


@pytest.mark.slow
def test_an_endpoint_that_never_answers_is_unavailable_in_the_time_allowed():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = {
            "aws_endpoint_url": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "aws_access_key_id": "x",
            "aws_secret_access_key": "x",
            "aws_region": "us-east-1",
            "allow_http": "true",
            "timeout": "200ms",
        }
        store = Store.open("s3://silent", options)
        started = time.monotonic()
        with pytest.raises(UnavailableError, match="cannot read 's3://silent/x'"):
            store.get("x")
        with pytest.raises(UnknownOutcome, match="cannot write 's3://silent/x'"):
            store.create("x", b"1")
        assert time.monotonic() - started < 20


def test_a_missing_bucket_is_not_taken_for_an_empty_one(s3_location: tuple[str, dict[str, str]]):
    store = Store.open("s3://no-such-bucket-here/base", s3_location[1])
    with pytest.raises((UnavailableError, NotFoundError)):
        store.create("x", b"1")


def test_damage_on_the_way_is_checked_by_s3_alone(store: Store):
    assert store.checks_writes is store.url.startswith("s3://")


@pytest.mark.parametrize("url", ["nosuch://bucket/x", "s3//:x://y"])
def test_an_unknown_kind_of_location_is_a_wrong_setting(url: str):
    with pytest.raises(SettingsError, match="check the URL"):
        Store.open(url)


def test_locations_are_made_absolute(tmp_path: Path):
    assert absolute("zone", tmp_path) == str(tmp_path / "zone")
    assert absolute("s3://bucket/zone/") == "s3://bucket/zone"
    assert not is_url(f"file://{tmp_path}")
    assert absolute(f"file://{tmp_path}") == str(tmp_path)


def test_special_characters_in_the_location_itself(tmp_path: Path):
    store = Store.open(str(tmp_path / "my zone 100% #1 ü"))
    store.put("a b#c", b"1")
    assert paths(store) == ["a b#c"]
    assert store.child("x").url == f"{store.url}/x"
