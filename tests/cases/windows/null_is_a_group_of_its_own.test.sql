-- Rows whose key is NULL are one group, apart from those with an empty text.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
rows clicks
  | page   | n | ts       |
  | NULL   | 1 | 00:00:01 |
  | ''     | 2 | 00:00:02 |
  | NULL   | 4 | 00:00:03 |
  | 'NULL' | 8 | 00:00:04 |
end
expect
  | window_start | page   | c | s |
  | 00:00:00     | NULL   | 2 | 5 |
  | 00:00:00     | ''     | 1 | 2 |
  | 00:00:00     | 'NULL' | 1 | 8 |
*/
