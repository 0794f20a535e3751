-- EMIT TIMEOUT closes open windows when nothing has come for that long, and not before.

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
  | b    | 2 | 00:00:11 |
silence 2 seconds
silence 1 second
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 1 | 1 |
  | 00:00:10     | b    | 1 | 2 |
end
*/
