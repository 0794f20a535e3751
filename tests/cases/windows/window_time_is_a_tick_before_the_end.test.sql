-- window_time is the last tick of the window, in the unit of its time.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE fine (ts TIMESTAMP(6), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 'fine');

CREATE MATERIALIZED VIEW in_millis AS
SELECT window_time, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_time;

CREATE MATERIALIZED VIEW in_micros AS
SELECT window_time, count(*) AS c FROM TUMBLE(fine, ts, INTERVAL '10 seconds') GROUP BY window_time;

/* test
rows clicks
  | ts       |
  | 00:00:03 |
and rows fine
  | ts              |
  | 00:00:03.000001 |
end
expect in_millis
  | window_time  | c |
  | 00:00:09.999 | 1 |
expect in_micros
  | window_time     | c |
  | 00:00:09.999999 | 1 |
*/
