-- median of an even number of fractions is the mean of the two in the middle.

CREATE TABLE clicks (x DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT median(x) AS m, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | x  | ts       |
  | 4  | 00:00:01 |
  | 1  | 00:00:02 |
  | 10 | 00:00:03 |
  | 2  | 00:00:04 |
end
expect
  | m | c |
  | 3 | 4 |
*/
