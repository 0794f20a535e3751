-- A join that keeps static rows without a partner is refused: that is never known of a stream.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE pages (page VARCHAR, title VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'pages.csv');

CREATE MATERIALIZED VIEW v AS
SELECT p.title, c.n FROM pages p LEFT JOIN clicks c ON p.page = c.page;

/* test
refused
  7:…: Left JOIN would keep the rows of a static table that match nothing, which is never known of a stream
  hint: …
*/
