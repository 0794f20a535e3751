-- A sum that comes back into BIGINT is right, whatever it was in between; one that does not is a dead letter without
-- an origin.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
not in batch: a sum that does not fit ends it
rows clicks
  | page | n                   | ts       |
  | a    | 9223372036854775807 | 00:00:01 |
  | a    | 1                   | 00:00:02 |
  | a    | -1                  | 00:00:03 |
  | b    | 9223372036854775807 | 00:00:04 |
  | b    | 1                   | 00:00:05 |
end
expect
  | page | s                   |
  | a    | 9223372036854775807 |
bad
  | table | offset | page | window_start | reason                                                                          |
  | NULL  | NULL   | b    | 00:00:00     | 8:14: "sum(clicks.n)" does not fit into BIGINT (the sum is 9223372036854775808) |
*/
