-- hop(…) in GROUP BY counts a row in each of its windows.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW hops AS
SELECT hop(ts, INTERVAL '5 seconds', INTERVAL '10 seconds') AS w, count(*) AS c FROM clicks GROUP BY w;

/* test
rows clicks
  | ts       |
  | 00:00:07 |
watermark clicks 00:00:10
expect
  | w                                        | c |
  | {"start": "00:00:00", "end": "00:00:10"} | 1 |
end
expect
  | w                                        | c |
  | {"start": "00:00:05", "end": "00:00:15"} | 1 |
*/
