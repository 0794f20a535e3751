-- A record that asks for more than a value may have is a bad record of its table.

CREATE TABLE clicks (page VARCHAR, n BIGINT, line AS repeat(page, n), ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS SELECT page, line FROM clicks;

/* test
rows clicks
  | page | n                   | ts       |
  | a    | 2                   | 00:00:01 |
  | bb   | 9223372036854775807 | 00:00:02 |
  | c    | 1                   | 00:00:03 |
expect
  | page | line |
  | a    | aa   |
  | c    | c    |
bad
  | offset | column |
  | 1      | line   |
end
*/
