-- Silence closes what is open, and moves no watermark where nothing is.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page
EMIT TIMEOUT INTERVAL '3 seconds';

/* test
silence 10 seconds
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
silence 3 seconds
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 1 | 1 |
silence 1 hour
end
*/
