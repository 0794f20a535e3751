-- A sum of DECIMAL has every digit.

CREATE TABLE clicks (price DECIMAL(10, 2), ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT sum(price) AS s, max(price) AS most
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | price       | ts       |
  | 0.10        | 00:00:01 |
  | 0.20        | 00:00:02 |
  | 99999999.99 | 00:00:03 |
end
expect
  | s            | most        |
  | 100000000.29 | 99999999.99 |
*/
