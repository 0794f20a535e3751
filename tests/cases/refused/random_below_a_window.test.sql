-- random() below a window is refused: each run would give another value.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT window_start, sum(random()) AS r FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start;

/* test
refused
  6:1: "sum(random())" gives another value each time, which a window's state cannot hold
  hint: use event time, or compute it in the query that reads the view
*/
