-- Windowed results of two tables make one result, each leaving with its own watermark.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE taps (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'taps');

CREATE MATERIALIZED VIEW v AS
SELECT 'click' AS kind, window_end, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end
UNION ALL
SELECT 'tap', window_end, count(*) FROM TUMBLE(taps, ts, INTERVAL '5 seconds') GROUP BY window_end;

/* test
rows clicks
  | ts       |
  | 00:00:01 |
and rows taps
  | ts       |
  | 00:00:02 |
watermark taps 00:00:05
expect
  | kind | window_end | c |
  | tap  | 00:00:05   | 1 |
watermark clicks 00:00:10
expect
  | kind  | window_end | c |
  | click | 00:00:10   | 1 |
end
*/
