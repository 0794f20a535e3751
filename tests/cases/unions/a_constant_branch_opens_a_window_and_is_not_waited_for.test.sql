-- A constant branch with a time is in its window, and its watermark holds nothing back.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT window_end, count(*) AS c
FROM TUMBLE((SELECT ts FROM clicks UNION ALL SELECT TIMESTAMP '1970-01-01 00:00:07'), ts, INTERVAL '10 seconds')
GROUP BY window_end;

/* test
rows clicks
  | ts       |
  | 00:00:01 |
watermark clicks 00:00:10
expect
  | window_end | c |
  | 00:00:10   | 2 |
end
*/
