-- A record that is no row is not counted, and its neighbours are.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT window_start, count(*) AS c, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start;

/* test
rows clicks
  | n   | ts       |
  | 1   | 00:00:01 |
  | one | 00:00:02 |
  | 2   | soon     |
  | 4   | 00:00:03 |
bad
  | offset | column |
  | 1      | n      |
  | 2      | ts     |
end
expect
  | window_start | c | s |
  | 00:00:00     | 2 | 5 |
*/
