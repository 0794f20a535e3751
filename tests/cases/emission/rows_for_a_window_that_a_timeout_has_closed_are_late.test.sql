-- After a timeout has closed a window, its rows are late, and those of the next are not.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page
EMIT TIMEOUT INTERVAL '3 seconds';

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
silence 3 seconds
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 1 | 1 |
rows clicks
  | page | n | ts       |
  | a    | 2 | 00:00:09 |
  | a    | 4 | 00:00:10 |
late
  | n | missed_from | missed_to |
  | 2 | 00:00:00    | 00:00:10  |
end
expect
  | window_start | page | c | s |
  | 00:00:10     | a    | 1 | 4 |
*/
