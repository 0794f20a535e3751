-- An entry of the ledger has the partition and the offset of its record.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
watermark clicks 00:00:10
rows clicks partition 0
  | page | n | ts       |
  | a    | 1 | 00:00:11 |
  | a    | 2 | 00:00:01 |
and rows clicks partition 3
  | page | n | ts       |
  | b    | 4 | 00:00:02 |
late
  | partition | offset | page |
  | 0         | 1      | a    |
  | 3         | 0      | b    |
watermark clicks 00:00:20
expect
  | window_start | page | c | s |
  | 00:00:10     | a    | 1 | 1 |
end
*/
