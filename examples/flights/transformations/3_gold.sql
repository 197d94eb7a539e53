-- Gold: the answers, each with the time of the newest event that went into it.

CREATE OR REFRESH MATERIALIZED VIEW daily_departures
COMMENT "How many flights left each airport on each day."
AS SELECT
  CAST(event_timestamp AS DATE)                 AS day,
  origin,
  count(*)                                      AS flights,
  count_if(cancelled)                           AS cancelled,
  sum(departure_delay)                          AS minutes_late,
  max(event_timestamp)                          AS latest_event_timestamp
FROM flights_enriched
GROUP BY CAST(event_timestamp AS DATE), origin;

CREATE OR REFRESH MATERIALIZED VIEW carrier_delays
COMMENT "Which airlines are late, and by how much."
AS SELECT
  carrier,
  airline,
  count(*)                                                            AS flights,
  count_if(cancelled)                                                 AS cancelled,
  CAST(sum(arrival_delay) AS DECIMAL(18, 4)) / count(arrival_delay)   AS mean_arrival_delay,
  max(arrival_delay)                                                  AS worst_arrival_delay,
  max(event_timestamp)                                                AS latest_event_timestamp
FROM flights_enriched
GROUP BY carrier, airline;

CREATE OR REFRESH MATERIALIZED VIEW weather_delays
COMMENT "What rain and wind do to departures."
AS SELECT
  origin,
  CASE WHEN precipitation > 0 THEN 'wet' WHEN precipitation = 0 THEN 'dry' ELSE 'unknown' END AS sky,
  CASE WHEN wind_speed >= 20 THEN 'windy' WHEN wind_speed < 20 THEN 'calm' ELSE 'unknown' END AS wind,
  count(*)                                                               AS flights,
  CAST(sum(departure_delay) AS DECIMAL(18, 4)) / count(departure_delay)  AS mean_departure_delay,
  max(event_timestamp)                                                   AS latest_event_timestamp
FROM flights_enriched
GROUP BY 1, 2, 3;

CREATE OR REFRESH MATERIALIZED VIEW busiest_routes
COMMENT "Every route, by the number of its flights."
AS SELECT
  origin,
  dest,
  destination,
  count(*)              AS flights,
  sum(distance)         AS miles,
  max(event_timestamp)  AS latest_event_timestamp
FROM flights_enriched
GROUP BY origin, dest, destination;
