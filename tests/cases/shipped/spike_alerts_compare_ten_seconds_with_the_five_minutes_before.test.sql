-- spike_alerts has the ten seconds with over twice as many acts, and over six deviations more, as the mean of those
-- of the five minutes before, and none without such.

-- uses ../../../queries/spike_alerts.sql

CREATE TABLE acts (match_id VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

-- What the query reads of the materialized view.
CREATE VIEW crowd_10s AS
SELECT window_start, window_end, match_id, sum(n) AS events
FROM TUMBLE(acts, ts, INTERVAL '10 seconds')
GROUP BY window_start, window_end, match_id;

/* test
rows acts
  | match_id | n   | ts       |
  | alert    | 1   | 00:00:01 |
  | alert    | 3   | 00:00:12 |
  | alert    | 12  | 00:00:20 |
  | six      | 1   | 00:00:15 |
  | six      | 7   | 00:00:20 |
  | twice    | 100 | 00:00:15 |
  | twice    | 200 | 00:00:20 |
  | alone    | 50  | 00:00:20 |
  | at_five  | 1   | 00:00:15 |
  | past     | 1   | 00:00:05 |
watermark acts 00:00:30
watermark acts 00:00:30.001
expect spike_alerts
  | window_end | match_id | events | avg_prev | z            |
  | 00:00:30   | alert    | 12     | 2        | 7.071067811… |
rows acts
  | match_id | n | ts       |
  | at_five  | 8 | 00:05:11 |
  | past     | 8 | 00:05:11 |
end
expect spike_alerts
  | window_end | match_id | events | avg_prev | z |
  | 00:05:20   | at_five  | 8      | 1        | 7 |
*/
