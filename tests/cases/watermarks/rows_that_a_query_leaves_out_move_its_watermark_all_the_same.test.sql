-- A row that WHERE leaves out says how late it is as well as any other.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
WHERE n > 0
GROUP BY window_start, page;

/* test
watermarks follow the rows
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:05 |
rows clicks
  | page | n | ts       |
  | a    | 0 | 00:00:10 |
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 1 | 1 |
end
*/
