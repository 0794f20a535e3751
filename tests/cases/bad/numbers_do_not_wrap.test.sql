-- A sum, difference or product beyond its type is a bad row, and one at its end is none.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS SELECT page, n + 1 AS more FROM clicks;

/* test
rows clicks
  | page | n                   | ts       |
  | a    | 9223372036854775806 | 00:00:01 |
  | b    | 9223372036854775807 | 00:00:02 |
expect
  | page | more                |
  | a    | 9223372036854775807 |
bad
  | offset | reason                                                           |
  | 1      | 6:44: "n + 1" does not fit into BIGINT (9223372036854775807 + 1) |
end
*/
