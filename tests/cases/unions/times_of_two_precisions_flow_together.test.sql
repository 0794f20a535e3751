-- A union of TIMESTAMP(3) and TIMESTAMP(6) has the finer one's windows.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE fine (n BIGINT, ts TIMESTAMP(6), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 'fine');

CREATE MATERIALIZED VIEW v AS
SELECT window_end, count(*) AS c, max(ts) AS newest
FROM TUMBLE((SELECT ts FROM clicks UNION ALL SELECT ts FROM fine), ts, INTERVAL '10 seconds')
GROUP BY window_end;

/* test
rows clicks
  | ts       |
  | 00:00:01 |
rows fine
  | ts              |
  | 00:00:09.999999 |
watermark 00:00:10
expect
  | window_end | c | newest          |
  | 00:00:10   | 2 | 00:00:09.999999 |
end
*/
