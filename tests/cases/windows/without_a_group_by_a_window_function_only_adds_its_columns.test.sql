-- Without GROUP BY each row leaves at once, with the bounds of its window.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW dated AS
SELECT page, window_start, window_end FROM TUMBLE(clicks, ts, INTERVAL '10 seconds');

/* test
rows clicks
  | page | ts       |
  | a    | 00:00:01 |
  | b    | 00:00:10 |
expect
  | page | window_start | window_end |
  | a    | 00:00:00     | 00:00:10   |
  | b    | 00:00:10     | 00:00:20   |
watermark clicks 00:00:30
end
*/
