-- A row that WHERE leaves out is not late, for it could not have counted.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
WHERE n > 0
GROUP BY window_start, page;

/* test
watermark clicks 00:00:10
rows clicks
  | page | n    | ts       |
  | a    | 0    | 00:00:01 |
  | a    | NULL | 00:00:02 |
  | a    | 1    | 00:00:03 |
late
  | offset |
  | 2      |
end
*/
