-- What is seen of open windows is seen after a restart, too, and further rows are added to it.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_end, page, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_end, page
EMIT CHANGES;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
  | b    | 2 | 00:00:11 |
restart
watermark 00:00:01
early
  | window_end | page | s |
  | 00:00:10   | a    | 1 |
  | 00:00:20   | b    | 2 |
rows clicks
  | page | n | ts       |
  | a    | 4 | 00:00:02 |
restart
rows clicks
  | page | n | ts       |
  | b    | 8 | 00:00:12 |
early
  | window_end | page | s  |
  | 00:00:10   | a    | 5  |
  | 00:00:20   | b    | 10 |
*/
