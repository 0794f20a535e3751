CREATE TABLE e (id BIGINT NOT NULL, k VARCHAR, v DOUBLE, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json');
CREATE FUNCTION half(x DOUBLE) RETURNS DOUBLE RETURN x / 2;
CREATE MATERIALIZED VIEW halves AS SELECT id, half(v) AS h, coalesce(nullif(k, ''), 'none') AS k, date_trunc('hour', ts) AS hour, ts FROM e;
INSERT INTO e SELECT id, k, v, ts FROM e; /* refused */ SELECT 1; EXPLAIN SELECT id FROM e;
