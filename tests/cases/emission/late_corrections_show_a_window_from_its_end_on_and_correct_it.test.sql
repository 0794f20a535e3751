-- With late corrections a window is seen when the watermark has passed its end, is corrected by a row within the allowed lateness, and is final behind it.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page WITH ('allowed-lateness' = '20 seconds') AS
SELECT window_end, page, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_end, page
EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
  | b    | 2 | 00:00:02 |
  | a    | 4 | 00:00:11 |
early nothing
watermark 00:00:10
early
  | window_end | page | s | is_final |
  | 00:00:10   | a    | 1 | false    |
  | 00:00:10   | b    | 2 | false    |
rows clicks
  | page | n | ts       |
  | b    | 8 | 00:00:03 |
early
  | window_end | page | s  | is_final |
  | 00:00:10   | a    | 1  | false    |
  | 00:00:10   | b    | 10 | false    |
watermark 00:00:30
expect
  | window_end | page | s  | is_final |
  | 00:00:10   | a    | 1  | true     |
  | 00:00:10   | b    | 10 | true     |
early
  | window_end | page | s | is_final |
  | 00:00:20   | a    | 4 | false    |
end
expect
  | window_end | page | s | is_final |
  | 00:00:20   | a    | 4 | true     |
early nothing
*/
