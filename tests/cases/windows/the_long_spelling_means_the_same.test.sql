-- TABLE(TUMBLE(TABLE …, DESCRIPTOR(…), …)) has the windows that TUMBLE(…) has.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW counts AS
SELECT window_start, window_end, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, window_end;

CREATE MATERIALIZED VIEW longer AS
SELECT window_start, window_end, count(*) AS c
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end;

/* test
rows clicks
  | ts       |
  | 00:00:01 |
  | 00:00:11 |
watermark clicks 00:00:10
expect counts
  | window_start | window_end | c |
  | 00:00:00     | 00:00:10   | 1 |
expect longer
  | window_start | window_end | c |
  | 00:00:00     | 00:00:10   | 1 |
end
expect counts
  | window_start | c |
  | 00:00:10     | 1 |
expect longer
  | window_start | c |
  | 00:00:10     | 1 |
*/
