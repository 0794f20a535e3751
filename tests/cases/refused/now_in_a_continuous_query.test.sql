-- now() is refused: it would stand still.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page, now() AS seen FROM clicks;

/* test
refused
  7:14: now() is not available over a stream: it would stand still at the time the query was started
  hint: …
*/
