-- What is a bad record depends on the columns that a query reads.

CREATE TABLE clicks (
  id BIGINT NOT NULL, page VARCHAR CHECK (page IN ('a', 'b')), n INT CHECK (n BETWEEN 0 AND 9),
  ts TIMESTAMP(3), WATERMARK FOR ts AS ts
) WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW ids AS SELECT id FROM clicks;

CREATE MATERIALIZED VIEW pages AS SELECT page FROM clicks;

/* test
rows clicks
  {"id": 1, "page": 5}
  {"id": "x", "page": "a"}
expect ids
  | id |
  | 1  |
bad ids
  | offset | column |
  | 1      | id     |
expect pages
  | page |
  | a    |
bad pages
  | offset | column |
  | 0      | page   |
end
*/
