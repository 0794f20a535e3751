-- NULL is a key like others: its early results replace one another, and those of no other key.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_end, page, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_end, page
EMIT CHANGES;

/* test
rows clicks
  | page | n    | ts       |
  | NULL | 1    | 00:00:01 |
  | ''   | NULL | 00:00:01 |
early
  | window_end | page | s    |
  | 00:00:10   | NULL | 1    |
  | 00:00:10   | ''   | NULL |
rows clicks
  | page | n | ts       |
  | NULL | 2 | 00:00:02 |
  | NULL | 4 | 00:00:09 |
early
  | window_end | page | s    |
  | 00:00:10   | NULL | 7    |
  | 00:00:10   | ''   | NULL |
end
expect
  | window_end | page | s    |
  | 00:00:10   | NULL | 7    |
  | 00:00:10   | ''   | NULL |
*/
