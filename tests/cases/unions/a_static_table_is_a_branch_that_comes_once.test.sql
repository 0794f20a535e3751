-- The rows of a static table stand in a union once, with what they are.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE pages (page VARCHAR, title VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'pages.csv');

CREATE MATERIALIZED VIEW v AS SELECT page FROM clicks UNION ALL SELECT title FROM pages;

/* test
rows pages
  | page | title |
  | a    | Alpha |
  | b    | NULL  |
rows clicks
  | page | ts       |
  | a    | 00:00:01 |
expect
  | page  |
  | a     |
  | Alpha |
  | NULL  |
end
*/
