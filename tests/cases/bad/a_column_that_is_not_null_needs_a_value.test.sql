-- A record without a value for a column that is NOT NULL is bad, whether its field is null or not there.

CREATE TABLE clicks (
  id BIGINT NOT NULL, page VARCHAR CHECK (page IN ('a', 'b')), n INT CHECK (n BETWEEN 0 AND 9),
  ts TIMESTAMP(3), WATERMARK FOR ts AS ts
) WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS SELECT id, page, n FROM clicks;

/* test
rows clicks
  {"id": null, "page": "a"}
  {"page": "a"}
  {"id": 3}
expect
  | id | page | n    |
  | 3  | NULL | NULL |
bad
  | offset | column | reason                                          |
  | 0      | id     | field "id" is null; the schema says not null    |
  | 1      | id     | field "id" is missing; the schema says not null |
end
*/
