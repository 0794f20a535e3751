-- EMIT ON WINDOW CLOSE says what is so without it.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

CREATE MATERIALIZED VIEW said AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page
EMIT ON WINDOW CLOSE;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
watermark clicks 00:00:09
watermark clicks 00:00:10
expect per_page
  | window_start | page | c | s |
  | 00:00:00     | a    | 1 | 1 |
expect said
  | window_start | page | c | s |
  | 00:00:00     | a    | 1 | 1 |
end
*/
