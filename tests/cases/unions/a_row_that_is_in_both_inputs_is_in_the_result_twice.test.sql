-- UNION ALL keeps every row of each input, equal ones as well.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE taps (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'taps');

CREATE MATERIALIZED VIEW both AS SELECT page, n FROM clicks UNION ALL SELECT page, n FROM taps;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
expect
  | page | n |
  | a    | 1 |
rows taps
  | page | n    | ts       |
  | a    | 1    | 00:00:01 |
  | NULL | NULL | NULL     |
expect
  | page | n    |
  | a    | 1    |
  | NULL | NULL |
end
*/
