-- A division by zero leaves its row out, with where it was read, what was computed, and where that stands in the
-- query.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page,
  10 / n AS part
FROM clicks;

/* test
rows clicks partition 3
  | page | n    | ts       |
  | a    | 5    | 00:00:01 |
  | b    | 0    | 00:00:02 |
  | c    | NULL | 00:00:03 |
expect
  | page | part |
  | a    | 2    |
  | c    | NULL |
bad
  | table  | partition | offset | n | reason                                     |
  | clicks | 3         | 1      | 0 | 9:3: division by zero in "10 / n" (10 / 0) |
end
*/
