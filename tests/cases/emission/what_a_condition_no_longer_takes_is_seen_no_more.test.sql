-- A result that HAVING takes is seen, goes when it does not take the next one, and may come back.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_end, page, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_end, page
HAVING sum(n) BETWEEN 3 AND 9
EMIT CHANGES;

/* test
rows clicks
  | page | n | ts       |
  | a    | 5 | 00:00:01 |
  | b    | 1 | 00:00:01 |
early
  | window_end | page | s |
  | 00:00:10   | a    | 5 |
rows clicks
  | page | n | ts       |
  | a    | 5 | 00:00:02 |
early nothing
rows clicks
  | page | n  | ts       |
  | a    | -2 | 00:00:03 |
  | b    | 2  | 00:00:03 |
early
  | window_end | page | s |
  | 00:00:10   | a    | 8 |
  | 00:00:10   | b    | 3 |
rows clicks
  | page | n | ts       |
  | a    | 9 | 00:00:04 |
early
  | window_end | page | s |
  | 00:00:10   | b    | 3 |
end
expect
  | window_end | page | s | is_final |
  | 00:00:10   | b    | 3 | true     |
early nothing
*/
