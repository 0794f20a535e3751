-- Times before year 1 and after 9999 are bad, and those at the ends are not.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS SELECT n, ts FROM clicks;

/* test
rows clicks
  {"n": 1, "ts": "0001-01-01T00:00:00Z"}
  {"n": 2, "ts": "9999-12-31T23:59:59.999Z"}
  {"n": 3, "ts": 253402300800000}
  {"n": 4, "ts": -62135596800001}
expect
  | n | ts                      |
  | 1 | 0001-01-01 00:00:00     |
  | 2 | 9999-12-31 23:59:59.999 |
bad
  | offset | column |
  | 2      | ts     |
  | 3      | ts     |
end
*/
