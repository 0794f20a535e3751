-- A bound on one side is refused, with the side that it lacks.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE taps (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'taps');

CREATE MATERIALIZED VIEW v AS
SELECT c.n FROM clicks c JOIN taps t ON t.page = c.page AND t.ts >= c.ts;

/* test
refused
  9:61: the join's bound in time has one side only, so the rows of "c" would be kept for ever
  hint: AND t.ts <= c.ts + INTERVAL '1 minute'
*/
