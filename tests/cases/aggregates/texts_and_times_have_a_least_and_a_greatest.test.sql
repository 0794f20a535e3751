-- min and max compare texts by their bytes and times by the clock.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT min(page) AS least, max(page) AS most, min(ts) AS began, max(ts) AS ended
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | page | ts       |
  | b    | 00:00:05 |
  | B    | 00:00:01 |
  | ''   | 00:00:03 |
  | NULL | 00:00:09 |
end
expect
  | least | most | began    | ended    |
  | ''    | b    | 00:00:01 | 00:00:09 |
*/
