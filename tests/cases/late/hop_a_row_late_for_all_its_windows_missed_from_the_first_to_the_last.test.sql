-- The ledger has one entry a row, from the start of the first window that it missed to the end of the last.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW hops AS
SELECT window_start, window_end, count(*) AS c, sum(n) AS s
FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds')
GROUP BY window_start, window_end;

/* test
watermark clicks 00:00:20
rows clicks
  | n | ts       |
  | 1 | 00:00:07 |
late
  | n | missed_from | missed_to | wholly |
  | 1 | 00:00:00    | 00:00:15  | true   |
end
*/
