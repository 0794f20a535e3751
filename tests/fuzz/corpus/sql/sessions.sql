CREATE TABLE e (id BIGINT NOT NULL, k VARCHAR, v DOUBLE, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json');
CREATE MATERIALIZED VIEW grouped AS SELECT session(ts, INTERVAL '30 seconds') AS w, k, count(DISTINCT id) AS n FROM e
GROUP BY w, k EMIT TIMEOUT INTERVAL '3 seconds';
CREATE MATERIALIZED VIEW days AS SELECT window_start, window_end, array_agg(id ORDER BY ts) AS ids
FROM CUMULATE(e, ts, INTERVAL '1 day', INTERVAL '7 days', 'Europe/Berlin') GROUP BY window_start, window_end EMIT EVERY INTERVAL '1 second';
