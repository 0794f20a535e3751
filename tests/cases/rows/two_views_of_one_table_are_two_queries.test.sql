-- Views of a file run side by side, each with the rows that it chooses.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW big AS SELECT page FROM clicks WHERE n > 5;

CREATE MATERIALIZED VIEW small AS SELECT page FROM clicks WHERE n <= 5;

/* test
rows clicks
  | page | n    | ts       |
  | a    | 9    | 00:00:01 |
  | b    | 5    | 00:00:02 |
  | c    | NULL | 00:00:03 |
expect big
  | page |
  | a    |
expect small
  | page |
  | b    |
end
*/
