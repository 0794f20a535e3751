-- CREATE FUNCTION gives a name to an expression, and NULL goes through it as through that.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE FUNCTION twice(x BIGINT) RETURNS BIGINT RETURN 2 * x;

CREATE MATERIALIZED VIEW v AS SELECT page, twice(n + 1) AS m FROM clicks WHERE twice(n) <> 8 OR n IS NULL;

/* test
rows clicks
  | page | n    | ts       |
  | a    | 1    | 00:00:01 |
  | b    | 4    | 00:00:02 |
  | c    | NULL | 00:00:03 |
expect
  | page | m    |
  | a    | 4    |
  | c    | NULL |
end
*/
