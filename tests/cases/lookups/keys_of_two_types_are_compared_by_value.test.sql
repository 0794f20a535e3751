-- A BIGINT finds the INT that is equal to it, and the DOUBLE.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE levels (level DOUBLE, label VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'levels.csv');

CREATE MATERIALIZED VIEW v AS
SELECT n, label FROM clicks c JOIN levels l ON l.level = c.n;

/* test
rows levels
  | level | label   |
  | 1     | one     |
  | 3.0   | three   |
  | 2.5   | between |
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
  | b    | 2 | 00:00:02 |
  | z    | 3 | 00:00:03 |
  | NULL | 4 | 00:00:04 |
expect
  | n | label |
  | 1 | one   |
  | 3 | three |
end
*/
