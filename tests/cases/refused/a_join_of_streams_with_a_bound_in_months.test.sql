-- A bound in months is refused: months differ.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE taps (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'taps');

CREATE MATERIALIZED VIEW v AS
SELECT c.n FROM clicks c JOIN taps t ON t.page = c.page AND t.ts BETWEEN c.ts AND c.ts + INTERVAL '1 month';

/* test
refused
  9:61: a join of two streams cannot be bounded by months: they have no fixed length…
  hint: write days, as in INTERVAL '30 days'
*/
