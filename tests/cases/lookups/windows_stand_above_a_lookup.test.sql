-- Rows are counted by what a static table says of them.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE pages (page VARCHAR, title VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'pages.csv');

CREATE MATERIALIZED VIEW v AS
SELECT window_end, title, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') c
JOIN pages p ON p.page = c.page
GROUP BY window_end, title;

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
watermark clicks 00:00:10
expect
  | window_end | title | c |
  | 00:00:10   | Alpha | 1 |
  | 00:00:10   | Beta  | 1 |
  | 00:00:10   | Bis   | 1 |
end
*/
