-- A row that is in two windows and that an expression cannot take is one dead letter.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT window_end, sum(10 / n) AS s
FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY window_end;

/* test
rows clicks
  | n | ts       |
  | 0 | 00:00:07 |
  | 5 | 00:00:07 |
bad
  | offset |
  | 0      |
end
expect
  | window_end | s |
  | 00:00:10   | 2 |
  | 00:00:15   | 2 |
*/
