-- count(DISTINCT …) counts a value once a window, though its rows come in several epochs, and no NULL.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT window_start, count(DISTINCT page) AS pages, count(DISTINCT n) AS values
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
  | b    | 1 | 00:00:02 |
rows clicks partition 1
  | page | n    | ts       |
  | a    | 2    | 00:00:03 |
  | NULL | NULL | 00:00:04 |
  | ''   | NULL | 00:00:05 |
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:11 |
end
expect
  | window_start | pages | values |
  | 00:00:00     | 3     | 2      |
  | 00:00:10     | 1     | 1      |
*/
