-- A list that a window has put together is taken apart at its close.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW parts AS
SELECT window_end, unnest(pages) AS page
FROM (SELECT window_end, array_agg(page ORDER BY page) AS pages FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end);

/* test
rows clicks
  | page | ts       |
  | a    | 00:00:01 |
  | b    | 00:00:02 |
watermark clicks 00:00:10
expect
  | window_end | page |
  | 00:00:10   | a    |
  | 00:00:10   | b    |
end
*/
