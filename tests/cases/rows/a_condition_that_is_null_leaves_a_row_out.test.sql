-- WHERE keeps a row where its condition is true: false and NULL leave it out.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page
FROM clicks
WHERE n > 1;

/* test
rows clicks
  | page | n    | ts       |
  | a    | 5    | 00:00:01 |
  | b    | 0    | 00:00:02 |
  | c    | NULL | 00:00:03 |
expect
  | page |
  | a    |
end
*/
