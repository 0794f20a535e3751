-- Static rows alone are no result of a join with a stream.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE pages (page VARCHAR, title VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'pages.csv');

CREATE MATERIALIZED VIEW v AS
SELECT n, title FROM clicks c LEFT JOIN pages p ON p.page = c.page;

/* test
rows pages
  | page | title  |
  | a    | Alpha  |
  | b    | Beta   |
  | b    | Bis    |
  | NULL | Nobody |
watermark clicks 00:00:10
end
*/
