-- A row that comes too late for the first of its windows counts in the second, and the ledger says so.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW hops AS
SELECT window_start, window_end, count(*) AS c, sum(n) AS s
FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds')
GROUP BY window_start, window_end;

/* test
not at once: a late row counts in those of its windows that are still open
rows clicks
  | n | ts       |
  | 1 | 00:00:06 |
watermark clicks 00:00:10
expect
  | window_start | window_end | c | s |
  | 00:00:00     | 00:00:10   | 1 | 1 |
rows clicks
  | n | ts       |
  | 2 | 00:00:07 |
late
  | n | missed_from | missed_to | wholly |
  | 2 | 00:00:00    | 00:00:10  | false  |
end
expect
  | window_start | window_end | c | s |
  | 00:00:05     | 00:00:15   | 2 | 3 |
*/
