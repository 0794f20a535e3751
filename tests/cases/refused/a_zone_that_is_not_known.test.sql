-- A time zone that is misspelt is refused with the one that is meant.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT tumble(ts, INTERVAL '1 day', 'Europe/Berln') AS w, count(*) AS c FROM clicks GROUP BY w;

/* test
refused
  7:8: time zone 'Europe/Berln' is not known
  hint: did you mean 'Europe/Berlin'?
*/
