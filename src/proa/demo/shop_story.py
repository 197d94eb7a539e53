"""The second act, `proa demo --cdc`: a database that is busy, two regions that follow it, one lost.

Capture, the shipper and the active region are the commands that a user starts, each a process.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import duckdb

from proa.capture import Capture
from proa.clock import Clock
from proa.demo.postgresql import postgresql
from proa.demo.shop import SHOP_TABLES, Shop
from proa.demo.stage import ACTIVE, STANDBY, Stage, Tell, compare_regions
from proa.recovery import StoredRegion
from proa.settings import ProjectSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHANGES = "orders_changes"
_REGION_RELATIONS = {
    "customers": ("customers", "customers"),
    "orders": ("orders", "orders WHERE __END_AT IS NULL"),
    "order history": (
        "orders",
        "(SELECT *, row_number() OVER (PARTITION BY id ORDER BY __START_AT) AS n FROM orders)",
    ),
    "daily_revenue": ("daily_revenue", "daily_revenue"),
}
"""By what is compared: a region's table, and what of it is compared."""
_READ_ROWS = """
    COPY shop FROM $1 (HEADER false, DELIMITER ',', QUOTE '"', ESCAPE '"', NULLSTR '\\N', AUTO_DETECT false)
"""
_DIFFERENT = """
    SELECT (SELECT count(*) FROM (SELECT * FROM shop EXCEPT ALL SELECT * FROM region)),
           (SELECT count(*) FROM (SELECT * FROM region EXCEPT ALL SELECT * FROM shop)),
           (SELECT count(*) FROM shop)
"""


@dataclass(frozen=True)
class TableProof:
    """One table of the database, and how many rows of each region differ from it."""

    rows: int
    different: Mapping[str, int]
    """By region: rows that it lacks, and rows that the database has not."""


@dataclass(frozen=True)
class ShopReport:
    """The facts at the end of the second act."""

    equal: bool
    """Every table of one region has the rows of the other's."""
    tables: Mapping[str, TableProof]
    transactions: int
    shop_seconds: float
    files: int
    """Files that capture made."""
    outage_to_caught_up_s: float
    killed_in_batch: bool
    verdicts: Mapping[str, str] = field(default_factory=dict)
    """Each table's verdict of `proa verify`, in words."""

    @property
    def proven(self) -> bool:
        different = sum(sum(table.different.values()) for table in self.tables.values())
        return self.equal and not different and all(table.rows for table in self.tables.values())


class ShopDemo(Stage):
    """One telling of the story of the shop, of at least `seconds`."""

    def __init__(
        self, folder: Path, clock: Clock, tell: Tell, *, database: str | None, seconds: float
    ) -> None:
        super().__init__(folder, clock, tell)
        self._database = database
        self._seconds = seconds

    def run(self) -> ShopReport:
        """Tell the whole story. Raises UnavailableError when a chapter does not come to its end,
        SettingsError where there is no database or it is not prepared.
        """
        with self.open_shop():
            self.play()
            return self.prove()

    @contextmanager
    def open_shop(self) -> Iterator[Shop]:
        """The shop whose story is told, in the database that is named or a server of our own. It is
        gone when the block ends.
        """
        with self._find_shop() as shop, shop.open_tables():
            self._shop = shop
            try:
                yield shop
            finally:
                self.kill_all()

    def play(self) -> None:
        """Tell everything up to the moment when nobody writes any more."""
        self.open_project("shop", {"${SHOP_DATABASE}": self._shop.url})
        self._open()
        self._follow()
        self._lose_region()
        self._fail_over()
        self._return()
        self._close()

    def prove(self) -> ShopReport:
        """Compare both regions with the database, and with each other."""
        self.tell("Proof", "both regions are compared with the database, and with each other")
        equal, verdicts = compare_regions(self.settings)
        return ShopReport(
            equal=equal,
            tables=compare_with_shop(self.settings, self._shop),
            transactions=self._work.transactions,
            shop_seconds=round(self._work.seconds, 1),
            files=self._files,
            outage_to_caught_up_s=round(self._caught_up - self._outage, 3),
            killed_in_batch=self._killed_in_batch,
            verdicts=verdicts,
        )

    def check(self) -> None:
        """Raise what stopped a process, or the shop."""
        super().check()
        self._shop.check()

    # -- the chapters -----------------------------------------------------------------------------

    def _open(self) -> None:
        Path(self.settings.sources["shop"].path).mkdir(parents=True)
        self.start("capture", "capture", "--interval", "0.5")
        self.start("ship", "ship", "--interval", "0.5")
        zones = [Path(region.landing_zone) for region in self.settings.regions.values()]
        self.wait(
            lambda: all(
                [*zone.glob("shop/proa_shop/customers/*")]
                and [*zone.glob("shop/proa_shop/orders/*")]
                for zone in zones
            ),
            "both tables to be loaded",
        )
        self._shop.work()
        self.tell(
            "The shop",
            "opens: `proa capture` has loaded customers and orders, `proa ship` has brought them to"
            " both landing zones; now everything changes, 20 transactions a second",
        )

    def _follow(self) -> None:
        self.start_region(ACTIVE)
        self.wait(lambda: self._batch() > 1, f"{ACTIVE} to follow")
        self.tell("Normal days", f"{ACTIVE} follows all the time")
        self.run_region(STANDBY, "is triggered, as its schedule does, and catches up")

    def _lose_region(self) -> None:
        batch = self._batch()
        self._killed_in_batch = self.kill_in_batch(_CHANGES, batch)
        self._outage = self._clock.monotonic()
        self.lose_zone()
        when = "in the middle of" if self._killed_in_batch else "right after"
        self.tell(
            "The outage",
            f"{ACTIVE} is killed (SIGKILL) {when} batch {batch}; its landing zone is gone too; the"
            " shop goes on selling",
        )

    def _fail_over(self) -> None:
        told = self.change("failover", "--to", STANDBY, "--reason", f"{ACTIVE} is lost")
        self._caught_up = self._clock.monotonic()
        seconds = self._caught_up - self._outage
        self.tell("Failover", f"`proa failover --to {STANDBY}`: {told}; {seconds:.1f} s")
        self._shop.add_phone()
        self.start_region(STANDBY)
        self.wait(lambda: self._has_column(STANDBY, "phone"), f"{STANDBY} to follow alone")
        self.tell(
            "Alone",
            f"{STANDBY} follows all the time, as {ACTIVE} did; customers get a phone number that no"
            " pipeline was told of",
        )

    def _return(self) -> None:
        self.kill(STANDBY, signal.SIGTERM)
        self.return_zone()
        told = self.change("failback", "--reason", f"{ACTIVE} is back")
        self.tell(
            "Failback",
            f"`proa failback`: {ACTIVE} gets what it missed, finishes the batch that it died in, is"
            f" proven equal to {STANDBY} while the shop goes on; {told}",
        )
        batch = self._batch()
        self.start_region(ACTIVE)
        self.wait(lambda: self._batch() > batch, f"{ACTIVE} to follow again")

    def _close(self) -> None:
        self.wait(lambda: self._shop.has_written_for(self._seconds), "the shop to close")
        self._work = self._shop.close()
        self.check()
        for name in (ACTIVE, "capture", "ship"):
            self.kill(name, signal.SIGTERM)
        capture = self.settings.sources["shop"].capture
        assert capture is not None
        shippers = self.open_shippers()
        Capture(shippers[0].source.store, capture, self._clock).run()
        self._files = sum(shipper.ship().head for shipper in shippers)
        self.tell(
            "Closing time", f"{self._work.transactions} transactions became {self._files} files"
        )
        for region in (ACTIVE, STANDBY):
            self.run_region(region, "reads what is left")

    def _batch(self) -> int:
        return self.next_batch(_CHANGES)

    def _has_column(self, region: str, column: str) -> bool:
        """Whether the region's table `customers` has a column."""
        lineage = StoredRegion(region, self.settings.region(region)).lineage
        return column in lineage.table("customers").schema.names

    @contextmanager
    def _find_shop(self) -> Iterator[Shop]:
        """The database that is named, or a server of our own."""
        if self._database is not None:
            yield Shop(self._database, self._clock)
            return
        with postgresql() as server:
            server.execute("CREATE DATABASE shop")
            self.tell("PostgreSQL", f"starts on port {server.port}, for as long as this runs")
            yield Shop(server.url("shop"), self._clock)


def compare_with_shop(settings: ProjectSettings, shop: Shop) -> dict[str, TableProof]:
    """Compare every region's rows with the database's, row for row, by their values."""
    regions = [StoredRegion(name, region) for name, region in settings.regions.items()]
    proofs = {}
    with TemporaryDirectory(prefix="proa-demo-") as folder:
        file = Path(folder) / "rows.csv"
        for name, (relation, columns) in SHOP_TABLES.items():
            file.write_bytes(shop.rows(relation, columns))
            numbers = {region.name: _compare(region, name, columns, file) for region in regions}
            different = {region: lacking + extra for region, (lacking, extra, _) in numbers.items()}
            proofs[name] = TableProof(max(rows for *_, rows in numbers.values()), different)
    return proofs


def _compare(
    region: StoredRegion, name: str, columns: Mapping[str, str], file: Path
) -> tuple[int, int, int]:
    """(rows that the region lacks, rows that only it has, rows of the shop).

    A column that the region's table lacks is NULL in each of its rows.
    """
    table, relation = _REGION_RELATIONS[name]
    rows = region.rows(table, region.lineage.version(table))
    lacking = [f"NULL AS {column}" for column in columns if column not in {*rows.schema.names, "n"}]
    names = ", ".join(columns)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("stored", rows)
        connection.execute(
            f"CREATE VIEW {table} AS SELECT {', '.join(['*', *lacking])} FROM stored"  # noqa: S608 - constants
        )
        connection.execute(f"CREATE TABLE region AS SELECT {names} FROM {relation}")  # noqa: S608
        types = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        connection.execute(f"CREATE TABLE shop ({types})")
        connection.execute(_READ_ROWS, [str(file)])
        numbers = connection.execute(_DIFFERENT).fetchone()
        assert numbers is not None
        return int(numbers[0]), int(numbers[1]), int(numbers[2])
