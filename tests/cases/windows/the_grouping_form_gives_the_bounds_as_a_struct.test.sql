-- tumble(…) in GROUP BY gives a struct of start and end.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW counts AS
SELECT tumble(ts, INTERVAL '10 seconds') AS w, page, count(*) AS c FROM clicks GROUP BY w, page;

/* test
rows clicks
  | page | ts       |
  | a    | 00:00:01 |
  | NULL | 00:00:02 |
watermark clicks 00:00:10
expect
  | w                                        | page | c |
  | {"start": "00:00:00", "end": "00:00:10"} | a    | 1 |
  | {"start": "00:00:00", "end": "00:00:10"} | NULL | 1 |
end
*/
