-- now() is refused: it would stand still.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page, now() AS seen FROM clicks;

/* test
refused
  6:1: now() is not available over a stream: it would stand still at the time the query was started
  hint: use the row's event time, or the record's time as a metadata column: at TIMESTAMP(3) METADATA FROM 'timestamp'
*/
