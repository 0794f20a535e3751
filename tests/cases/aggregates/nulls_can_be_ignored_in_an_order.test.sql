-- first_value IGNORE NULLS is the first value that is one.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT first_value(n ORDER BY ts) FILTER (WHERE n IS NOT NULL) AS known, first_value(n ORDER BY ts) AS first
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | n    | ts       |
  | NULL | 00:00:01 |
  | 5    | 00:00:02 |
end
expect
  | known | first |
  | 5     | NULL  |
*/
