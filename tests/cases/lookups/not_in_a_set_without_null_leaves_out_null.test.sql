-- NOT IN keeps what is not in the set, and no row whose own key is NULL.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE pages (page VARCHAR, title VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'pages.csv');

CREATE MATERIALIZED VIEW v AS
SELECT n FROM clicks WHERE page NOT IN (SELECT page FROM pages WHERE page IS NOT NULL);

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
  | n |
  | 3 |
end
*/
