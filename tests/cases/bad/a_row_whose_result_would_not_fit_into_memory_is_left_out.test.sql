-- A row that asks a function for more than a value may have is left out with its place, and the others go on.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page,
  lpad(page, n, '0') AS padded
FROM clicks;

/* test
rows clicks
  | page | n                   | ts       |
  | a    | 3                   | 00:00:01 |
  | b    | 9000000000          | 00:00:02 |
  | c    | NULL                | 00:00:03 |
  | d    | 2                   | 00:00:04 |
expect
  | page | padded |
  | a    | 00a    |
  | c    | NULL   |
  | d    | 0d     |
bad
  | table  | offset | reason |
  | clicks | 1      | 8:3: lpad() would make a value of up to 36000000000 bytes (one value may take 16777216 bytes) |
end
*/
