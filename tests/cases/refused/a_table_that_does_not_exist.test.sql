-- A misspelt table is refused at its place, with the one that is meant.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page FROM click;

/* test
refused
  7:18: table 'click' not found
  hint: did you mean "clicks"?
*/
