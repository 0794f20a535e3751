-- A time with an offset, with a space, without seconds, or as milliseconds is the same instant.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS SELECT n, ts FROM clicks;

/* test
rows clicks
  {"n": 1, "ts": "2026-01-10T15:00:00Z"}
  {"n": 2, "ts": "2026-01-10 16:00:00+01:00"}
  {"n": 3, "ts": "2026-01-10T15:00"}
  {"n": 4, "ts": 1768057200000}
  {"n": 5, "ts": "2026-01-10T15:00:00.000999Z"}
expect
  | n | ts                  |
  | 1 | 2026-01-10 15:00:00 |
  | 2 | 2026-01-10 15:00:00 |
  | 3 | 2026-01-10 15:00:00 |
  | 4 | 2026-01-10 15:00:00 |
  | 5 | 2026-01-10 15:00:00 |
end
*/
