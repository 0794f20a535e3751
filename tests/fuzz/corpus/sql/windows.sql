CREATE TABLE e (id BIGINT NOT NULL, k VARCHAR, v DOUBLE, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json');
-- How many of each minute?
CREATE MATERIALIZED VIEW tumbled WITH ('primary-key' = 'k, window_start') AS
SELECT window_start, window_end, k, count(*) AS n, sum(v) FILTER (WHERE v > 0) AS s, max(CASE WHEN id % 2 = 0 THEN v END) AS m
FROM TUMBLE(e, ts, INTERVAL '1 minute') WHERE k IN ('a', 'b') AND id BETWEEN 1 AND 9 GROUP BY window_start, window_end, k
HAVING count(*) > 1 EMIT CHANGES;
CREATE MATERIALIZED VIEW hopped AS SELECT window_end, avg(v) AS a FROM TABLE(HOP(TABLE e, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '1' MINUTE))
GROUP BY window_start, window_end EMIT ON WINDOW CLOSE;
