-- CAST of a text that is no number is a bad row, and TRY_CAST makes NULL of it.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW strict AS SELECT CAST(page AS BIGINT) AS p FROM clicks;

CREATE MATERIALIZED VIEW lenient AS SELECT TRY_CAST(page AS BIGINT) AS p FROM clicks;

/* test
rows clicks
  | page | ts       |
  | 7    | 00:00:01 |
  | a    | 00:00:02 |
  | ''   | 00:00:03 |
  | NULL | 00:00:04 |
expect strict
  | p    |
  | 7    |
  | NULL |
bad strict
  | offset | page | reason                                       |
  | 1      | a    | 6:48: "CAST(page AS BIGINT)" cannot take 'a' |
  | 2      | ''   | 6:48: "CAST(page AS BIGINT)" cannot take ''  |
expect lenient
  | p    |
  | 7    |
  | NULL |
  | NULL |
  | NULL |
end
*/
