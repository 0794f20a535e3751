-- With 'timestamp-format' = 'epoch-s' a number is seconds, and a text is no time.

CREATE TABLE clicks (page VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks', 'timestamp-format' = 'epoch-s');

CREATE MATERIALIZED VIEW v AS SELECT page, ts FROM clicks;

/* test
rows clicks
  {"page": "a", "ts": 90}
  {"page": "b", "ts": 90.5}
  {"page": "c", "ts": "1970-01-01T00:01:30Z"}
expect
  | page | ts         |
  | a    | 00:01:30   |
  | b    | 00:01:30.5 |
bad
  | offset | column |
  | 2      | ts     |
end
*/
