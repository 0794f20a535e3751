-- CASE takes the first branch whose condition is true, and NULL where there is none.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT n, CASE WHEN n > 10 THEN 'many' WHEN n > 1 THEN 'some' END AS how
FROM clicks;

/* test
rows clicks
  | n    | ts       |
  | 50   | 00:00:01 |
  | 5    | 00:00:02 |
  | 1    | 00:00:03 |
  | NULL | 00:00:04 |
expect
  | n    | how  |
  | 50   | many |
  | 5    | some |
  | 1    | NULL |
  | NULL | NULL |
end
*/
