-- What a view shows of open windows reaches no view above it: that one reads rows when they are final.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, window_end, page, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, window_end, page
EMIT CHANGES;

CREATE MATERIALIZED VIEW total AS
SELECT window_start, window_end, count(*) AS pages, sum(c) AS c FROM per_page GROUP BY window_start, window_end;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
  | b    | 1 | 00:00:02 |
early per_page
  | window_end | page | c |
  | 00:00:10   | a    | 1 |
  | 00:00:10   | b    | 1 |
rows clicks
  | page | n | ts       |
  | b    | 1 | 00:00:03 |
early per_page
  | window_end | page | c |
  | 00:00:10   | a    | 1 |
  | 00:00:10   | b    | 2 |
end
expect per_page
  | window_end | page | c | is_final |
  | 00:00:10   | a    | 1 | true     |
  | 00:00:10   | b    | 2 | true     |
expect total
  | window_end | pages | c |
  | 00:00:10   | 2     | 3 |
early per_page nothing
*/
