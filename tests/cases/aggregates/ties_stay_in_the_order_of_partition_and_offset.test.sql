-- Of rows that tie the first by partition and offset comes first, in whichever order partitions are read; with DESC
-- it comes last.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT window_start, array_agg(page ORDER BY n) AS up, first_value(page ORDER BY n) AS first,
  last_value(page ORDER BY n) AS last
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

CREATE MATERIALIZED VIEW down AS
SELECT window_start, array_agg(page ORDER BY n DESC) AS pages
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
not in batch: there rows that tie come as they stand, whichever way they are ordered
rows clicks partition 1
  | page | n | ts       |
  | c    | 7 | 00:00:01 |
  | d    | 7 | 00:00:01 |
rows clicks partition 0
  | page | n | ts       |
  | a    | 7 | 00:00:01 |
  | b    | 7 | 00:00:01 |
end
expect v
  | window_start | up                   | first | last |
  | 00:00:00     | ["a", "b", "c", "d"] | a     | d    |
expect down
  | window_start | pages                |
  | 00:00:00     | ["d", "c", "b", "a"] |
*/
