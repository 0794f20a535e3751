-- The time of a record that is no row moves nothing.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
watermarks follow the rows
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:05 |
rows clicks
  | page | n    | ts       |
  | a    | many | 00:00:30 |
bad
  | offset | column |
  | 1      | n      |
rows clicks
  | page | n | ts       |
  | a    | 2 | 00:00:06 |
end
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 2 | 3 |
*/
