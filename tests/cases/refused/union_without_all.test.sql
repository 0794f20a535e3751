-- UNION without ALL is refused, and UNION ALL named.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE pages (page VARCHAR, title VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'pages.csv');

CREATE MATERIALIZED VIEW v AS
SELECT page FROM clicks UNION SELECT title FROM pages;

/* test
refused
  7:1: …
  hint: …UNION ALL…
*/
