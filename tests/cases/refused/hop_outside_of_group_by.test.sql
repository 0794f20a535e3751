-- hop(…) is refused where it is not grouped by.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page, hop(ts, INTERVAL '1 minute', INTERVAL '5 minutes') AS w FROM clicks;

/* test
refused
  7:14: hop(…) gives several windows of a row and can only be grouped by, as it stands
  hint: write SELECT hop(ts, INTERVAL '1 minute', INTERVAL '5 minutes') AS w, … GROUP BY w, or HOP(…) in FROM, which adds window_start and window_end
*/
