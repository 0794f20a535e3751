-- One bound of a TUMBLE names the window as well as both.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW by_start AS
SELECT window_start, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start;

CREATE MATERIALIZED VIEW by_end AS
SELECT window_end, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end;

/* test
rows clicks
  | ts       |
  | 00:00:01 |
  | 00:00:02 |
  | 00:00:11 |
watermark clicks 00:00:10
expect by_start
  | window_start | c |
  | 00:00:00     | 2 |
expect by_end
  | window_end | c |
  | 00:00:10   | 2 |
end
expect by_start
  | window_start | c |
  | 00:00:10     | 1 |
expect by_end
  | window_end | c |
  | 00:00:20   | 1 |
*/
