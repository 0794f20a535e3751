-- Of a field that stands in a record twice the last one counts.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page
FROM clicks;

/* test
rows clicks
  {"page": "a", "page": "b"}
expect
  | page |
  | b    |
end
*/
