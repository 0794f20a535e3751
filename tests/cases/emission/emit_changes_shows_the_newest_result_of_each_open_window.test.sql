-- Of each open window and key the newest result is seen, and it is gone from there when the final one comes.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_end, page, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_end, page
EMIT CHANGES;

/* test
rows clicks
  | page | n | ts       |
  | a    | 5 | 00:00:01 |
  | b    | 6 | 00:00:09 |
early
  | window_end | page | s | is_final |
  | 00:00:10   | a    | 5 | false    |
  | 00:00:10   | b    | 6 | false    |
rows clicks
  | page | n | ts       |
  | a    | 7 | 00:00:09 |
  | a    | 8 | 00:00:12 |
early
  | window_end | page | s  | is_final |
  | 00:00:10   | a    | 12 | false    |
  | 00:00:10   | b    | 6  | false    |
  | 00:00:20   | a    | 8  | false    |
watermark 00:00:09.999
early
  | window_end | page | s  |
  | 00:00:10   | a    | 12 |
  | 00:00:10   | b    | 6  |
  | 00:00:20   | a    | 8  |
watermark 00:00:10
expect
  | window_end | page | s  | is_final |
  | 00:00:10   | a    | 12 | true     |
  | 00:00:10   | b    | 6  | true     |
early
  | window_end | page | s |
  | 00:00:20   | a    | 8 |
end
expect
  | window_end | page | s | is_final |
  | 00:00:20   | a    | 8 | true     |
early nothing
*/
