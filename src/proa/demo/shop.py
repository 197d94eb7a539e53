"""A small shop whose database is busy: customers that move, orders that are placed, paid and sent.

Everything lies in a schema of its own, `proa_shop`, so that a database of the user's may play the
shop. What the shop knows of the past is what its own triggers write down, and nothing of Proa
judges its own work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from proa.clock import Clock
from proa.errors import SettingsError, UnavailableError
from proa.extras import needs

_SCHEMA = "proa_shop"
"""Also the name of the publication and of the slot."""
_LOCK = 8_052
"""An advisory lock, held while the shop is open."""
_SETUP = """
CREATE SCHEMA proa_shop;
SET search_path = proa_shop;
CREATE TABLE customers (id bigserial PRIMARY KEY, name text, city text);
CREATE TABLE orders (
  id bigserial PRIMARY KEY, customer bigint NOT NULL, placed_at timestamptz NOT NULL,
  status text NOT NULL, amount numeric(12, 2) NOT NULL
);
CREATE TABLE order_versions (version bigserial, LIKE orders);
CREATE FUNCTION keep_version() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO proa_shop.order_versions SELECT nextval('proa_shop.order_versions_version_seq'), (NEW).*;
  RETURN NEW;
END $$;
CREATE TRIGGER new_order AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION keep_version();
CREATE TRIGGER other_order AFTER UPDATE ON orders FOR EACH ROW
  WHEN (OLD IS DISTINCT FROM NEW) EXECUTE FUNCTION keep_version();
INSERT INTO customers (name, city) SELECT 'customer ' || i, 'Port ' || i % 17 FROM generate_series(1, 200) i;
INSERT INTO orders (customer, placed_at, status, amount)
  SELECT 1 + i % 200, timestamptz '2026-01-01 08:00+00' + i * interval '37 minutes', 'placed', 5 + i % 90 + 0.25
  FROM generate_series(1, 500) i;
"""

_ANY_ORDER = "(SELECT id FROM orders WHERE id >= floor(%(luck)s * (SELECT max(id) FROM orders)) ORDER BY id LIMIT 1)"
_ANY_CUSTOMER = _ANY_ORDER.replace("orders", "customers")
_NEW_ORDER = f"""
    INSERT INTO orders (customer, placed_at, status, amount)
    SELECT {_ANY_CUSTOMER}, timestamptz '2026-01-14 08:00+00' + %(luck)s * interval '20 days', 'placed',
           round((5 + 100 * %(luck)s)::numeric, 2)
"""
_STATEMENTS: Final[tuple[tuple[int, tuple[str, ...]], ...]] = (
    (30, (_NEW_ORDER,)),
    (30, (f"UPDATE orders SET status = 'paid' WHERE id = {_ANY_ORDER} AND status = 'placed'",)),  # noqa: S608
    (20, (f"UPDATE orders SET status = 'sent' WHERE id = {_ANY_ORDER} AND status = 'paid'",)),  # noqa: S608
    (5, (f"UPDATE orders SET status = 'cancelled', amount = 0 WHERE id = {_ANY_ORDER}",)),  # noqa: S608
    (3, (f"DELETE FROM orders WHERE id = {_ANY_ORDER}",)),  # noqa: S608
    (10, (f"UPDATE customers SET city = city || '''s, \"old\" town' WHERE id = {_ANY_CUSTOMER}",)),  # noqa: S608
    (2, (f"DELETE FROM customers WHERE id = {_ANY_CUSTOMER}",)),  # noqa: S608
    (
        10,
        (
            "INSERT INTO customers (name, city) VALUES ('somebody', E'two\\nlines, and a comma')",
            """INSERT INTO orders (customer, placed_at, status, amount)
            VALUES (currval('customers_id_seq'), timestamptz '2026-02-04 12:00+00', 'placed', 99.95)""",
            "UPDATE orders SET amount = amount - 9.95 WHERE id = currval('orders_id_seq')",
        ),
    ),
)
"""How often a transaction comes, and its statements."""
_STEPS: Final = (0.6180339887, 0.4142135624)
"""Multiples of them, without their whole part, lie evenly between 0 and 1: the same shop each time."""
_PAUSE = 0.05
_TRIES = 200
_OF_SLOT = (
    "FROM pg_replication_slots WHERE slot_name = 'proa_shop' AND database = current_database()"
)
_HAS_SLOT = f"SELECT 1 {_OF_SLOT}"
_END_READERS = f"SELECT pg_terminate_backend(active_pid) {_OF_SLOT} AND active"
_DROP_SLOT = f"SELECT pg_drop_replication_slot(slot_name) {_OF_SLOT} AND NOT active"

_ORDER: Final = {
    "id": "bigint",
    "customer": "bigint",
    "placed_at": "timestamptz",
    "status": "text",
    "amount": "decimal(12, 2)",
}
SHOP_TABLES: Final = {
    "customers": (
        "customers",
        {"id": "bigint", "name": "text", "city": "text", "phone": "text"},
    ),
    "orders": ("orders", _ORDER),
    "order history": (
        "(SELECT *, row_number() OVER (PARTITION BY id ORDER BY version) AS n FROM order_versions) v",
        {**_ORDER, "n": "bigint"},
    ),
    "daily_revenue": (
        """(SELECT (placed_at AT TIME ZONE 'UTC')::date AS day, count(*) AS orders, sum(amount) AS revenue
            FROM orders WHERE status <> 'cancelled' GROUP BY 1) r""",
        {"day": "date", "orders": "bigint", "revenue": "decimal(22, 2)"},
    ),
}
"""What is compared: the relation in the shop, and its columns with their types."""


@dataclass(frozen=True)
class ShopWork:
    """What the shop did."""

    transactions: int
    seconds: float


class Shop:
    """The shop in one database. It works in a thread until it is closed."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.url = url
        self._clock = clock
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._transactions = 0
        self._begun = 0.0
        self._thread = threading.Thread(target=self._work, daemon=True)

    @contextmanager
    def open_tables(self) -> Iterator[None]:
        """The shop's tables with what they hold first. All of it is gone when the block ends, and
        what a shop left here that was killed is gone when it begins.

        Raises SettingsError when another shop is open in this database.
        """
        with self.connect() as lock:
            if not lock.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK]).fetchone()[0]:
                raise SettingsError(
                    "another demo plays in this database; name another one, or wait for its end"
                )
            self._clear()
            try:
                lock.execute(_SETUP)
                yield
            finally:
                self._stop_writing()
                self._clear()

    def work(self) -> None:
        """Begin to write, transaction after transaction."""
        self._begun = self._clock.monotonic()
        self._thread.start()

    def close(self) -> ShopWork:
        """Stop writing. Raises what `check` raises."""
        self._stop_writing()
        self.check()
        return ShopWork(self._transactions, self._clock.monotonic() - self._begun)

    def check(self) -> None:
        """Raise UnavailableError when the shop stopped by itself."""
        if self._error is not None:
            raise UnavailableError(
                f"the shop stopped after {self._transactions} transactions: {self._error}"
            ) from self._error

    def has_written_for(self, seconds: float) -> bool:
        return self._clock.monotonic() - self._begun >= seconds

    def _stop_writing(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def add_phone(self) -> None:
        """A column that nobody was told of."""
        with self.connect() as connection:
            connection.execute("ALTER TABLE customers ADD COLUMN phone text")
            connection.execute("UPDATE customers SET phone = '+52 ' || id WHERE id % 7 = 0")

    def rows(self, relation: str, columns: Iterable[str]) -> bytes:
        """Rows of a relation of the shop as CSV, texts as PostgreSQL writes them."""
        names = ", ".join(columns)
        query = f"COPY (SELECT {names} FROM {relation}) TO STDOUT WITH (FORMAT csv, NULL '\\N')"  # noqa: S608
        with self.connect() as connection, connection.cursor().copy(query) as copy:
            return b"".join(copy)

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """A connection. Raises UnavailableError when the database does not answer."""
        with needs("demo"):
            import psycopg
        try:
            opened = psycopg.connect(self.url, autocommit=True)
        except psycopg.OperationalError as error:
            raise UnavailableError(f"the database does not answer: {error}") from error
        with opened as connection:
            connection.execute("SET TimeZone = 'UTC'; SET search_path = proa_shop")
            yield connection

    def _work(self) -> None:
        total = sum(weight for weight, _ in _STATEMENTS)
        try:
            with self.connect() as connection:
                while not self._clock.wait(_PAUSE, self._stop):
                    number = self._transactions
                    statements = _choose(number * _STEPS[0] % 1.0 * total)
                    with connection.transaction():
                        for statement in statements:
                            connection.execute(statement, {"luck": number * _STEPS[1] % 1.0})
                    self._transactions += 1
        except Exception as error:  # noqa: BLE001 - raised by check()
            self._error = error

    def _clear(self) -> None:
        """Take away everything of the shop's name: a slot that stays would keep the server's log."""
        with self.connect() as connection:
            for _ in range(_TRIES):
                connection.execute(_END_READERS)
                connection.execute(_DROP_SLOT)
                if connection.execute(_HAS_SLOT).fetchone() is None:
                    break
                self._clock.wait(_PAUSE)
            connection.execute("DROP PUBLICATION IF EXISTS proa_shop")
            connection.execute("DROP SCHEMA IF EXISTS proa_shop CASCADE")


def _choose(point: float) -> tuple[str, ...]:
    """The statements at a point of all weights laid end to end."""
    for weight, statements in _STATEMENTS:
        point -= weight
        if point < 0:
            return statements
    return _STATEMENTS[-1][1]
