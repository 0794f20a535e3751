-- A subquery over a stream cannot stand for a value.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE taps (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'taps');

CREATE MATERIALIZED VIEW v AS
SELECT page FROM clicks WHERE n > (SELECT max(n) FROM taps);

/* test
refused
  8:1: a subquery in an expression cannot read a stream
  hint: read a static table there, or aggregate the stream by windows of its own in a view
*/
