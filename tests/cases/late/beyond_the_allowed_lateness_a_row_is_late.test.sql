-- A row is late when its window has closed, with all lateness that was allowed.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page WITH ('allowed-lateness' = '5 seconds') AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
watermark clicks 00:00:15
rows clicks
  | page | n | ts           |
  | a    | 1 | 00:00:09.999 |
  | a    | 2 | 00:00:10     |
late
  | n | watermark | missed_from | missed_to |
  | 1 | 00:00:15  | 00:00:00    | 00:00:10  |
watermark clicks 00:00:25
expect
  | window_start | page | c | s |
  | 00:00:10     | a    | 1 | 2 |
end
*/
