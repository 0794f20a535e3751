-- Each element of a list is a row in the window of its record.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW counts AS
SELECT window_end, x, count(*) AS c
FROM (SELECT window_end, unnest([n, 1]) AS x FROM TUMBLE(clicks, ts, INTERVAL '10 seconds'))
GROUP BY window_end, x;

/* test
rows clicks
  | n | ts       |
  | 1 | 00:00:01 |
  | 2 | 00:00:02 |
end
expect
  | window_end | x | c |
  | 00:00:10   | 1 | 3 |
  | 00:00:10   | 2 | 1 |
*/
