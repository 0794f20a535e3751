-- bool_and and bool_or leave NULLs out.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT bool_and(n > 1) AS every, bool_or(n > 1) AS some
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | n    | ts       |
  | 1    | 00:00:01 |
  | 5    | 00:00:02 |
  | NULL | 00:00:03 |
end
expect
  | every | some |
  | false | true |
*/
