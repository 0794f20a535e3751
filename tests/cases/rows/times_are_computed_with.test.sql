-- Times are cut off, moved and compared like those of a column.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT date_trunc('minute', ts) AS minute, ts + INTERVAL '90 seconds' AS later, CAST(ts AS DATE) AS day, ts > TIMESTAMP '1970-01-01 01:00:00' AS late
FROM clicks;

/* test
rows clicks
  | page | ts         |
  | a    | 01:02:03.5 |
expect
  | minute   | later      | day        | late |
  | 01:02:00 | 01:03:33.5 | 1970-01-01 | true |
end
*/
