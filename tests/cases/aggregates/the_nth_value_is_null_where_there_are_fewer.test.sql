-- nth_value counts from one, and is NULL beyond the last row.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT nth_value(page, 2 ORDER BY n) AS second, nth_value(page, 4 ORDER BY n) AS fourth
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | page | n | ts       |
  | c    | 3 | 00:00:01 |
  | a    | 1 | 00:00:02 |
  | b    | 2 | 00:00:03 |
end
expect
  | second | fourth |
  | b      | NULL   |
*/
