-- An expression over aggregates sees their values at the window's close.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT 100.0 * count(*) FILTER (WHERE n > 0) / count(*) AS pct, CASE WHEN sum(n) > 5 THEN 'many' ELSE 'few' END AS how
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | n    | ts       |
  | 4    | 00:00:01 |
  | 4    | 00:00:02 |
  | 0    | 00:00:03 |
  | NULL | 00:00:04 |
end
expect
  | pct | how  |
  | 50  | many |
*/
