-- In panes of 10 s first, each of which belongs to 60 windows: as DuckDB is asked best.
WITH panes AS (
  SELECT event_time // 10000 AS pane, match_id, engagement_type, count(*) AS events, sum(watch_ms) AS watch_ms
  FROM engagements
  GROUP BY ALL
)
SELECT make_timestamp_ms((pane - back) * 10000) AS window_start, match_id, engagement_type,
       sum(events)::BIGINT AS events, sum(watch_ms)::DOUBLE / sum(events)::DOUBLE AS watch_ms
FROM panes, range(60) AS slides(back)
GROUP BY ALL
