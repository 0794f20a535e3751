-- WHERE and FILTER may ask where a row stands in its window.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW counts AS
SELECT window_end, count(*) AS c, count(*) FILTER (WHERE ts < window_start + INTERVAL '5 seconds') AS early
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
WHERE ts > window_start
GROUP BY window_end;

/* test
rows clicks
  | ts       |
  | 00:00:00 |
  | 00:00:01 |
  | 00:00:06 |
end
expect
  | window_end | c | early |
  | 00:00:10   | 2 | 1     |
*/
