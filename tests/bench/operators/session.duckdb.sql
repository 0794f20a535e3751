WITH begun AS (
  SELECT *, event_time - lag(event_time) OVER w > 5000 AS begins
  FROM a WINDOW w AS (PARTITION BY match_id ORDER BY event_time)
), numbered AS (
  SELECT *, count(*) FILTER (WHERE begins) OVER (PARTITION BY match_id ORDER BY event_time) AS session FROM begun
)
SELECT make_timestamp_ms(min(event_time)) AS window_start, make_timestamp_ms(max(event_time) + 5000) AS window_end, match_id,
       count(*) AS events, sum(watch_ms)::BIGINT AS watch_ms
FROM numbered
GROUP BY match_id, session
