-- Of one epoch the rows in time count, and the late ones alone are in the ledger.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
watermark clicks 00:00:10
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:09 |
  | a    | 2 | 00:00:11 |
  | b    | 4 | 00:00:01 |
late
  | offset | page | missed_from | missed_to |
  | 0      | a    | 00:00:00    | 00:00:10  |
  | 2      | b    | 00:00:00    | 00:00:10  |
end
expect
  | window_start | page | c | s |
  | 00:00:10     | a    | 1 | 2 |
*/
