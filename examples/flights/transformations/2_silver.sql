-- Silver: one clean row per flight, and who, where and in what weather it flew.

CREATE OR REFRESH STREAMING TABLE flights_clean (
  CONSTRAINT readable      EXPECT (event_id IS NOT NULL)                  ON VIOLATION DROP ROW,
  CONSTRAINT has_carrier   EXPECT (carrier IS NOT NULL)                   ON VIOLATION DROP ROW,
  CONSTRAINT knows_distance EXPECT (distance > 0)                         ON VIOLATION DROP ROW,
  CONSTRAINT plausible_air_time EXPECT (air_time IS NULL OR air_time BETWEEN 10 AND 900)
)
COMMENT "Flights that can be counted. Every rule's violations are in the event log."
AS SELECT
  event_id,
  event_timestamp,
  carrier,
  flight,
  tailnum,
  origin,
  dest,
  distance,
  actual.departure IS NULL AS cancelled,
  actual.dep_delay         AS departure_delay,
  actual.arr_delay         AS arrival_delay,
  actual.air_time          AS air_time
FROM STREAM(flights_bronze);

-- A materialized view, not a streaming table: a join against a table that still changes would give
-- whatever that table held at the time, and that time differs between regions.
CREATE OR REFRESH MATERIALIZED VIEW flights_enriched
COMMENT "Flights with their airline, aircraft, destination and the weather at departure."
AS SELECT
  f.*,
  a.name                AS airline,
  p.manufacturer,
  p.seats,
  d.name                AS destination,
  w.temp                AS temperature,
  w.wind_speed,
  w.precip              AS precipitation
FROM flights_clean f
LEFT JOIN airlines_bronze a ON a.carrier = f.carrier
LEFT JOIN planes_bronze   p ON p.tailnum = f.tailnum
LEFT JOIN airports_bronze d ON d.faa = f.dest
LEFT JOIN weather_bronze  w ON w.origin = f.origin AND w.time_hour = f.event_timestamp;
