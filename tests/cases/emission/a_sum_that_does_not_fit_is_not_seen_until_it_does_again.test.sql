-- A result that cannot be computed now is not seen early, and is no dead letter: a later row may bring it back.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_end, page, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_end, page
EMIT CHANGES;

/* test
rows clicks
  | page | n                   | ts       |
  | a    | 9223372036854775807 | 00:00:01 |
  | b    | 1                   | 00:00:01 |
early
  | window_end | page | s                   |
  | 00:00:10   | a    | 9223372036854775807 |
  | 00:00:10   | b    | 1                   |
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:02 |
early
  | window_end | page | s |
  | 00:00:10   | b    | 1 |
rows clicks
  | page | n  | ts       |
  | a    | -2 | 00:00:03 |
early
  | window_end | page | s                   |
  | 00:00:10   | a    | 9223372036854775806 |
  | 00:00:10   | b    | 1                   |
end
expect
  | window_end | page | s                   |
  | 00:00:10   | a    | 9223372036854775806 |
  | 00:00:10   | b    | 1                   |
*/
