-- Bounds of which the lower is above the upper are refused.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE taps (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'taps');

CREATE MATERIALIZED VIEW v AS
SELECT c.n FROM clicks c JOIN taps t ON t.ts BETWEEN c.ts + INTERVAL '5 seconds' AND c.ts;

/* test
refused
  9:41: …no two rows are partners…
  hint: the lower bound has to come first…
*/
