-- A record that a producer has sent twice is two rows.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT count(*) AS c, sum(n) AS s, count(DISTINCT n) AS d
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | page | n | ts       |
  | a    | 5 | 00:00:01 |
  | a    | 5 | 00:00:01 |
end
expect
  | c | s  | d |
  | 2 | 10 | 1 |
*/
