"""A database to capture."""

from collections.abc import Iterator
from itertools import count

import psycopg
import pytest

from proa.demo.postgresql import PostgreSQL, postgresql

_numbers = count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        yield running


@pytest.fixture
def database(server: PostgreSQL) -> Iterator[psycopg.Connection]:
    """A connection to a database of its own."""
    name = f"shop{next(_numbers)}"
    server.execute(f"CREATE DATABASE {name}")
    with psycopg.connect(server.url(name), autocommit=True) as connection:
        yield connection
    server.execute(
        f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{name}'"
    )
