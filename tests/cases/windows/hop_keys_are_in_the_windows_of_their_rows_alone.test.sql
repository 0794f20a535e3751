-- A key is in the windows that its own rows are in, and in no other.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW hops AS
SELECT page, window_end, count(*) AS c FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds')
GROUP BY page, window_end;

/* test
rows clicks
  | page | ts       |
  | a    | 00:00:02 |
  | b    | 00:00:12 |
end
expect
  | page | window_end | c |
  | a    | 00:00:05   | 1 |
  | a    | 00:00:10   | 1 |
  | b    | 00:00:15   | 1 |
  | b    | 00:00:20   | 1 |
*/
