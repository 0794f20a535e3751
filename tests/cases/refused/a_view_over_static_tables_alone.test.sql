-- A view that reads no stream is refused: it would never change.

CREATE TABLE pages (page VARCHAR, title VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'pages.csv');
CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page FROM pages;

/* test
refused
  7:1: the view reads no stream, so it would never change
  hint: read at least one table with a Kafka connector, or another view; or ask the static tables by Flight SQL
*/
