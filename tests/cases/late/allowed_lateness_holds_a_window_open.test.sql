-- With an allowed lateness of five seconds a window closes when the watermark is five seconds behind its end.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page WITH ('allowed-lateness' = '5 seconds') AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:05 |
watermark clicks 00:00:10
watermark clicks 00:00:14.999
rows clicks
  | page | n | ts       |
  | a    | 2 | 00:00:09 |
watermark clicks 00:00:15
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 2 | 3 |
end
*/
