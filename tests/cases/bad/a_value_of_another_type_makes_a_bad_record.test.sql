-- A value that its column's type does not take is named with column, value and type.

CREATE TABLE clicks (
  id BIGINT NOT NULL, page VARCHAR CHECK (page IN ('a', 'b')), n INT CHECK (n BETWEEN 0 AND 9),
  ts TIMESTAMP(3), WATERMARK FOR ts AS ts
) WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS SELECT id, page, n FROM clicks;

/* test
rows clicks
  {"id": 1, "page": "a", "n": 1}
  {"id": "two", "page": "a", "n": 1}
  {"id": 3, "page": true, "n": 1}
  {"id": 4, "page": "a", "n": 1.5}
  {"id": 5, "page": "a", "n": 99999999999}
expect
  | id | page | n |
  | 1  | a    | 1 |
bad
  | offset | column | reason                                                      |
  | 1      | id     | field "id" is "two"; the schema says bigint                 |
  | 2      | page   | field "page" is true; the schema says varchar               |
  | 3      | n      | field "n" is 1.5, not a whole number; the schema says int   |
  | 4      | n      | field "n" is 99999999999, out of range; the schema says int |
end
*/
