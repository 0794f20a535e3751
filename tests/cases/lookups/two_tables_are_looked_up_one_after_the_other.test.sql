-- A stream joined twice has the partners of both.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE pages (page VARCHAR, title VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'pages.csv');

CREATE MATERIALIZED VIEW v AS
SELECT n, p.title, q.title AS other FROM clicks c JOIN pages p ON p.page = c.page LEFT JOIN pages q ON q.title = p.title AND q.page = 'a';

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
  | n | title | other |
  | 1 | Alpha | Alpha |
  | 2 | Beta  | NULL  |
  | 2 | Bis   | NULL  |
end
*/
