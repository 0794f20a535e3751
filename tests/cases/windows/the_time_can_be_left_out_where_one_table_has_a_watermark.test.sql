-- tumble(…) without a time takes the column of the table's watermark.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW counts AS
SELECT tumble(INTERVAL '10 seconds') AS w, count(*) AS c FROM clicks GROUP BY w;

/* test
rows clicks
  | ts       |
  | 00:00:19 |
watermark clicks 00:00:20
expect
  | w                                        | c |
  | {"start": "00:00:10", "end": "00:00:20"} | 1 |
end
*/
