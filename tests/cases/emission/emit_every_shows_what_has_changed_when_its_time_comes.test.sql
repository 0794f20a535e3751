-- With EMIT EVERY what has changed is seen at most so often, and a result that has not left yet is seen as it was.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_end, page, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_end, page
EMIT EVERY INTERVAL '5 seconds';

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
early
  | window_end | page | s |
  | 00:00:10   | a    | 1 |
silence 2 seconds
rows clicks
  | page | n | ts       |
  | a    | 2 | 00:00:02 |
  | b    | 4 | 00:00:02 |
early
  | window_end | page | s |
  | 00:00:10   | a    | 1 |
silence 3 seconds
early
  | window_end | page | s |
  | 00:00:10   | a    | 3 |
  | 00:00:10   | b    | 4 |
end
expect
  | window_end | page | s |
  | 00:00:10   | a    | 3 |
  | 00:00:10   | b    | 4 |
early nothing
*/
