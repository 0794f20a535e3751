-- A partition without a row holds the watermark back, until it has been silent for the idle timeout.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
watermarks follow the rows
rows clicks partition 0
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
  | a    | 2 | 00:00:30 |
silence 29 seconds
rows clicks partition 0
  | page | n | ts       |
  | a    | 4 | 00:00:31 |
silence 1 second
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 1 | 1 |
rows clicks partition 1
  | page | n | ts       |
  | b    | 8 | 00:00:32 |
end
expect
  | window_start | page | c | s |
  | 00:00:30     | a    | 2 | 6 |
  | 00:00:30     | b    | 1 | 8 |
*/
