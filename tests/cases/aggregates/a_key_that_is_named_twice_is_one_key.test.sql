-- A key under two names is grouped by once, and shown twice.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page, page AS again, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page, again;

/* test
rows clicks
  | page | ts       |
  | a    | 00:00:01 |
  | a    | 00:00:02 |
end
expect
  | page | again | c |
  | a    | a     | 2 |
*/
