-- array_agg is refused without an ORDER BY of its own.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT window_start, array_agg(page) AS ps FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start;

/* test
refused
  6:1: array_agg over a stream needs an order: rows of several partitions come in another one each time
  hint: order it by the event time: array_agg(… ORDER BY ts)
*/
