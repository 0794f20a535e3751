-- A subquery over a stream cannot stand for a value.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE taps (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'taps');

CREATE MATERIALIZED VIEW v AS
SELECT page FROM clicks WHERE n > (SELECT max(n) FROM taps);

/* test
refused
  9:…: a subquery in an expression cannot read a stream
  hint: …
*/
