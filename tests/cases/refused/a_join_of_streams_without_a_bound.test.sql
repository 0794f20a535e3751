-- A join of two streams is refused without a bound in time, with the one to write.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE taps (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'taps');

CREATE MATERIALIZED VIEW v AS
SELECT c.n FROM clicks c JOIN taps t ON t.page = c.page;

/* test
refused
  9:41: a join of two streams needs a bound in time, or every row would be kept for ever
  hint: AND t.ts BETWEEN c.ts - INTERVAL '1 minute' AND c.ts + INTERVAL '1 minute'
*/
