-- Rows are grouped by what an expression makes of them, and those of which it makes NULL together.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT upper(page) AS p, n % 2 AS odd, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, upper(page), n % 2;

/* test
rows clicks
  | page | n    | ts       |
  | a    | 1    | 00:00:01 |
  | A    | 3    | 00:00:02 |
  | a    | 2    | 00:00:03 |
  | NULL | 4    | 00:00:04 |
  | NULL | NULL | 00:00:05 |
end
expect
  | p    | odd  | c |
  | A    | 1    | 2 |
  | A    | 0    | 1 |
  | NULL | 0    | 1 |
  | NULL | NULL | 1 |
*/
