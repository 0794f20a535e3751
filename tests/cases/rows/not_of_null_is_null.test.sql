-- NOT of a condition that is NULL leaves the row out as well.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page
FROM clicks
WHERE NOT (n > 1);

/* test
rows clicks
  | page | n    | ts       |
  | a    | 5    | 00:00:01 |
  | b    | 0    | 00:00:02 |
  | c    | NULL | 00:00:03 |
expect
  | page |
  | b    |
end
*/
