-- viewer_retention counts each viewer of a match once, by the longest session that has ended on the day so far.

-- uses ../../../queries/viewer_retention.sql

CREATE TABLE stays (match_id VARCHAR, user_id VARCHAR, length_s DOUBLE, ended TIMESTAMP(3), WATERMARK FOR ended AS ended)
WITH ('connector' = 'kafka', 'topic' = 'stays');

-- What the query reads of the materialized view.
CREATE VIEW viewer_sessions AS SELECT ended AS window_end, match_id, user_id, length_s FROM stays;

/* test
day 2026-01-10
rows stays
  | match_id | user_id | length_s | ended        |
  | m1       | u1      | 130      | 22:10:00     |
  | m1       | u1      | 30       | 22:50:00     |
  | m1       | u2      | 60       | 22:59:59.999 |
  | m2       | u1      | 59.999   | 22:30:00     |
  | m1       | u3      | 185.5    | 23:00:00     |
  | m1       | u2      | 119      | 23:10:00     |
watermark stays 22:59:59.999
watermark stays 23:00:00
expect viewer_retention
  | window_start        | window_end | match_id | minutes | viewers | share |
  | 2026-01-10 00:00:00 | 23:00:00   | m1       | 1       | 2       | 1     |
  | 2026-01-10 00:00:00 | 23:00:00   | m1       | 2       | 1       | 0.5   |
  | 2026-01-10 00:00:00 | 23:00:00   | m2       | 0       | 1       | 1     |
rows stays
  | match_id | user_id | length_s | ended               |
  | m1       | u1      | 700      | 2026-01-11 00:00:00 |
watermark stays 2026-01-11 00:00:00
expect viewer_retention
  | window_start        | window_end          | match_id | minutes | viewers | share        |
  | 2026-01-10 00:00:00 | 2026-01-11 00:00:00 | m1       | 1       | 3       | 1            |
  | 2026-01-10 00:00:00 | 2026-01-11 00:00:00 | m1       | 2       | 2       | 0.666666666… |
  | 2026-01-10 00:00:00 | 2026-01-11 00:00:00 | m1       | 3       | 1       | 0.333333333… |
  | 2026-01-10 00:00:00 | 2026-01-11 00:00:00 | m2       | 0       | 1       | 1            |
watermark stays 2026-01-11 01:00:00
expect viewer_retention
  | window_start        | window_end          | match_id | minutes | viewers | share |
  | 2026-01-11 00:00:00 | 2026-01-11 01:00:00 | m1       | 11      | 1       | 1     |
*/
