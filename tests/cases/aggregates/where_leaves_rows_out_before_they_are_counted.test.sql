-- WHERE leaves rows out, and a group of which it leaves nothing is no group.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
WHERE n > 0
GROUP BY window_start, page;

/* test
rows clicks
  | page | n    | ts       |
  | a    | 1    | 00:00:01 |
  | a    | 0    | 00:00:02 |
  | b    | 0    | 00:00:03 |
  | c    | NULL | 00:00:04 |
end
expect
  | page | c |
  | a    | 1 |
*/
