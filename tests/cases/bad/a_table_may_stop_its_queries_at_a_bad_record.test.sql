-- With 'on-bad-row' = 'fail' a query stops at the first record that does not fit, and takes nothing of its epoch.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks', 'on-bad-row' = 'fail');

CREATE MATERIALIZED VIEW v AS SELECT page, n FROM clicks;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
expect
  | page | n |
  | a    | 1 |
rows clicks
  | page | n    | ts       |
  | b    | 2    | 00:00:02 |
  | c    | many | 00:00:03 |
stops
  cannot decode row from topic "clicks", partition 0, offset 2
  detail: field "n" is "many"; the schema says bigint
*/
