-- A value that its CHECK does not admit makes a bad record, and NULL passes.

CREATE TABLE clicks (
  id BIGINT NOT NULL, page VARCHAR CHECK (page IN ('a', 'b')), n INT CHECK (n BETWEEN 0 AND 9),
  ts TIMESTAMP(3), WATERMARK FOR ts AS ts
) WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS SELECT id, page, n FROM clicks;

/* test
rows clicks
  {"id": 1, "page": "b", "n": 0}
  {"id": 2, "page": "c", "n": 1}
  {"id": 3, "page": "a", "n": 10}
  {"id": 4}
expect
  | id | page | n    |
  | 1  | b    | 0    |
  | 4  | NULL | NULL |
bad
  | offset | column | reason                                               |
  | 1      | page   | field "page" is "c"; the schema says one of 'a', 'b' |
  | 2      | n      | field "n" is 10; the schema says between 0 and 9     |
end
*/
