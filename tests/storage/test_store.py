"""One behaviour suite for every kind of object store."""

from __future__ import annotations

import pytest

from proa.errors import ConflictError
from proa.storage import NotFoundError, Store


def test_what_was_put_is_read_back(store: Store):
    store.put("a/b.txt", b"hello")
    assert store.get("a/b.txt") == b"hello"


def test_create_refuses_to_replace(store: Store):
    store.create("a", b"first")
    with pytest.raises(ConflictError, match="exists already"):
        store.create("a", b"second")
    assert store.get("a") == b"first"


def test_missing_objects_are_not_found(store: Store):
    with pytest.raises(NotFoundError):
        store.get("missing")
