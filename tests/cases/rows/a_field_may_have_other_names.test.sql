-- A column is read from a field of its name or of any alias, and fields without a column are skipped.

CREATE TABLE clicks (page_name VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks', 'aliases.page_name' = 'pageName, p', 'aliases.ts' = 'timestamp');

CREATE MATERIALIZED VIEW v AS SELECT page_name, ts FROM clicks;

/* test
rows clicks
  {"page_name": "a", "ts": "1970-01-01T00:00:01Z"}
  {"pageName": "b", "timestamp": "1970-01-01T00:00:02Z", "more": [1, {"deep": true}]}
  {"p": "c", "timestamp": 3000}
expect
  | page_name | ts       |
  | a         | 00:00:01 |
  | b         | 00:00:02 |
  | c         | 00:00:03 |
end
*/
