-- A field is the column of its exact name, else the one whose name differs in case alone.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS SELECT page, n FROM clicks;

/* test
rows clicks
  {"PAGE": "a", "N": 1}
  {"Page": "b", "n": 2}
expect
  | page | n |
  | a    | 1 |
  | b    | 2 |
end
*/
