-- 'numbers-as-text' takes a number as it is written, for the columns that it names.

CREATE TABLE clicks (page VARCHAR, code VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks', 'numbers-as-text' = 'code');

CREATE MATERIALIZED VIEW v AS SELECT page, code FROM clicks;

/* test
rows clicks
  {"page": "a", "code": 007.50}
  {"page": "b", "code": 7.50}
  {"page": 1, "code": "x"}
expect
  | page | code |
  | b    | 7.50 |
bad
  | offset | reason         |
  | 0      | …              |
  | 2      | field "page" … |
end
*/
