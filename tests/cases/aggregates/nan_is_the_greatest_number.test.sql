-- max takes NaN for the greatest number, and min for it too.

CREATE TABLE numbers (x DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 'numbers');
CREATE VIEW clicks AS SELECT CASE WHEN x = 0 THEN CAST('NaN' AS DOUBLE) ELSE x END AS x, ts FROM numbers;

CREATE MATERIALIZED VIEW v AS
SELECT min(x) AS least, max(x) AS most, count(x) AS c
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows numbers
  | x   | ts       |
  | 1.5 | 00:00:01 |
  | -2  | 00:00:02 |
  | 0   | 00:00:03 |
end
expect
  | least | most | c |
  | -2    | NaN  | 3 |
*/
