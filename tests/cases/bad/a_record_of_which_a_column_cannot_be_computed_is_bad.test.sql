-- A record of which a computed column cannot be computed is a bad one, and its time moves nothing.

CREATE TABLE clicks (
  page VARCHAR, t BIGINT, n BIGINT, share AS 12 / n, ts AS to_timestamp_millis(t * 1000), WATERMARK FOR ts AS ts
) WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, sum(share) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
watermarks follow the rows
rows clicks
  | page | n | t |
  | a    | 3 | 5 |
rows clicks
  | page | n | t  |
  | a    | 0 | 30 |
bad
  | offset | column |
  | 1      | share  |
rows clicks
  | page | n | t |
  | a    | 6 | 6 |
end
expect
  | window_start | page | s |
  | 00:00:00     | a    | 6 |
*/
