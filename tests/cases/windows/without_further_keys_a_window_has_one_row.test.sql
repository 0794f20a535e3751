-- An aggregate by the window alone has one row a window that has rows.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW totals AS
SELECT window_end, count(*) AS c, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY window_end;

/* test
rows clicks partition 0
  | page | n | ts           |
  | a    | 1 | 00:00:01     |
  | b    | 2 | 00:00:59.999 |
rows clicks partition 1
  | page | n | ts       |
  | c    | 4 | 00:00:30 |
watermark clicks partition 0 00:01:00
watermark clicks partition 1 00:01:00
expect
  | window_end | c | s |
  | 00:01:00   | 3 | 7 |
end
*/
