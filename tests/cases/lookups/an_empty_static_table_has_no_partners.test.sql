-- Beside an empty static table an inner join is empty, and a left one has all rows.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE pages (page VARCHAR, title VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'pages.csv');

CREATE MATERIALIZED VIEW v AS
SELECT n, title FROM clicks c LEFT JOIN pages p ON p.page = c.page;

/* test
rows pages
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
  | b    | 2 | 00:00:02 |
  | z    | 3 | 00:00:03 |
  | NULL | 4 | 00:00:04 |
expect
  | n | title |
  | 1 | NULL  |
  | 2 | NULL  |
  | 3 | NULL  |
  | 4 | NULL  |
end
*/
