-- A row whose window has closed is in no result, and in the ledger with its place and the window that it missed.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:05 |
watermark clicks 00:00:12
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 1 | 1 |
rows clicks
  | page | n | ts       |
  | a    | 2 | 00:00:09 |
late
  | table  | partition | offset | event_time | watermark | missed_from | missed_to | wholly | page | n |
  | clicks | 0         | 1      | 00:00:09   | 00:00:12  | 00:00:00    | 00:00:10  | true   | a    | 2 |
end
*/
