-- NULL has a partner by IS NOT DISTINCT FROM, and by = it has none.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE pages (page VARCHAR, title VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'pages.csv');

CREATE MATERIALIZED VIEW v AS
SELECT n, title FROM clicks c JOIN pages p ON p.page IS NOT DISTINCT FROM c.page;

/* test
rows pages
  | page | title  |
  | a    | Alpha  |
  | b    | Beta   |
  | b    | Bis    |
  | NULL | Nobody |
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
  | b    | 2 | 00:00:02 |
  | z    | 3 | 00:00:03 |
  | NULL | 4 | 00:00:04 |
expect
  | n | title  |
  | 1 | Alpha  |
  | 2 | Beta   |
  | 2 | Bis    |
  | 4 | Nobody |
end
*/
