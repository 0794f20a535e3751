-- A query without windows takes rows of any time, however far behind they are.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS SELECT page FROM clicks WHERE n > 0;

/* test
watermark clicks 00:09:00
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
expect
  | page |
  | a    |
end
*/
