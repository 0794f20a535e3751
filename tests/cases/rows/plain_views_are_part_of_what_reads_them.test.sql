-- A query over a view over a view gives what their text gives in its place.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE VIEW big AS SELECT upper(page) AS page, n, ts FROM clicks WHERE n > 5;
CREATE VIEW doubled AS SELECT page, 2 * n AS n, ts FROM big;

CREATE MATERIALIZED VIEW v AS
SELECT window_start, page, sum(n) AS s FROM TUMBLE(doubled, ts, INTERVAL '10 seconds') GROUP BY window_start, page;

/* test
rows clicks
  | page | n | ts       |
  | a    | 5 | 00:00:01 |
  | b    | 6 | 00:00:02 |
  | B    | 7 | 00:00:03 |
end
expect
  | window_start | page | s  |
  | 00:00:00     | B    | 26 |
*/
