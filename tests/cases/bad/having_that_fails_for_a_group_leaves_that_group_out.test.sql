-- A group for which HAVING cannot be computed is left out, and no other.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start, page HAVING 10 / sum(n) > 1;

/* test
rows clicks
  | page | n  | ts       |
  | a    | 5  | 00:00:01 |
  | b    | 0  | 00:00:02 |
  | c    | 10 | 00:00:03 |
end
expect
  | page | c |
  | a    | 1 |
bad
  | page |
  | b    |
*/
