-- A row may be late for one query and in time for another, whose window is longer.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

CREATE MATERIALIZED VIEW by_minute AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '1 minute')
GROUP BY window_start, page;

/* test
watermark clicks 00:00:10
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
late per_page
  | page | missed_to |
  | a    | 00:00:10  |
end
expect by_minute
  | window_start | page | c | s |
  | 00:00:00     | a    | 1 | 1 |
*/
