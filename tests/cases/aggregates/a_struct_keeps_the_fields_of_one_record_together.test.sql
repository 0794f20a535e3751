-- last_value of a struct takes all its fields from the same record, also those that are NULL.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT last_value(named_struct('page', page, 'n', n) ORDER BY ts) AS last
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | page | n    | ts       |
  | a    | 1    | 00:00:01 |
  | b    | NULL | 00:00:09 |
  | c    | 3    | 00:00:05 |
end
expect
  | last                     |
  | {"page": "b", "n": null} |
*/
