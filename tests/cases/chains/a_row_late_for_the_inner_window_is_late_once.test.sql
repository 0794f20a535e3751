-- A row that the inner window refuses does not reach the outer one, and is in the ledger once.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW busiest AS
WITH seconds AS (
  SELECT window_time AS at, page, count(*) AS c
  FROM TUMBLE(clicks, ts, INTERVAL '1 second')
  GROUP BY window_time, page
)
SELECT window_start, sum(c) AS clicks FROM TUMBLE(seconds, at, INTERVAL '10 seconds') GROUP BY window_start;

/* test
rows clicks
  | page | ts       |
  | a    | 00:00:01 |
watermark clicks 00:00:05
rows clicks
  | page | ts       |
  | b    | 00:00:02 |
  | b    | 00:00:05 |
late
  | page | missed_from | missed_to |
  | b    | 00:00:02    | 00:00:03  |
end
expect
  | window_start | clicks |
  | 00:00:00     | 2      |
*/
