-- Where windows overlap, a row changes what is seen of each open one that holds it, and of no other.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_end, page, sum(n) AS s
FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '15 seconds')
GROUP BY window_end, page
EMIT CHANGES;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:07 |
early
  | window_end | page | s |
  | 00:00:10   | a    | 1 |
  | 00:00:15   | a    | 1 |
  | 00:00:20   | a    | 1 |
watermark 00:00:10
expect
  | window_end | page | s |
  | 00:00:10   | a    | 1 |
early
  | window_end | page | s |
  | 00:00:15   | a    | 1 |
  | 00:00:20   | a    | 1 |
rows clicks
  | page | n | ts       |
  | a    | 8 | 00:00:18 |
  | b    | 2 | 00:00:12 |
early
  | window_end | page | s |
  | 00:00:15   | a    | 1 |
  | 00:00:15   | b    | 2 |
  | 00:00:20   | a    | 9 |
  | 00:00:20   | b    | 2 |
  | 00:00:25   | a    | 8 |
  | 00:00:25   | b    | 2 |
  | 00:00:30   | a    | 8 |
*/
