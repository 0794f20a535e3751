-- HAVING sees aggregates that the result does not show.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page
HAVING count(*) > 1;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
  | a    | 2 | 00:00:02 |
  | b    | 3 | 00:00:03 |
end
expect
  | page |
  | a    |
*/
