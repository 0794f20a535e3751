-- UNION without ALL is refused as DISTINCT is: it would keep every row.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE pages (page VARCHAR, title VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'pages.csv');

CREATE MATERIALIZED VIEW v AS
SELECT page FROM clicks UNION SELECT title FROM pages;

/* test
refused
  7:1: UNION over a stream would keep every row for ever
  hint: UNION ALL, or on both sides SELECT window_start, window_end, … FROM TUMBLE(t, ts, INTERVAL '1 minute')
*/
