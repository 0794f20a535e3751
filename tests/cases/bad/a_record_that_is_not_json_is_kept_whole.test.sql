-- A record that is no JSON object is in no result, and is kept with its bytes.

CREATE TABLE clicks (
  id BIGINT NOT NULL, page VARCHAR CHECK (page IN ('a', 'b')), n INT CHECK (n BETWEEN 0 AND 9),
  ts TIMESTAMP(3), WATERMARK FOR ts AS ts
) WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS SELECT id, page, n FROM clicks;

/* test
rows clicks
  {"id": 1, "page": "a", "n": 5}
  {"id": 2, "page": "b"
  [1, 2]
  none at all
expect
  | id | page | n |
  | 1  | a    | 5 |
bad
  | table  | partition | offset | column | value                 |
  | clicks | 0         | 1      | NULL   | {"id": 2, "page": "b" |
  | clicks | 0         | 2      | NULL   | [1, 2]                |
  | clicks | 0         | 3      | NULL   | none at all           |
end
*/
