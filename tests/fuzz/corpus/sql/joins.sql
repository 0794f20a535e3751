CREATE TABLE e (id BIGINT NOT NULL, k VARCHAR, v DOUBLE, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json');
CREATE TABLE f (id BIGINT NOT NULL, k VARCHAR, v DOUBLE, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'f', 'format' = 'json');
CREATE MATERIALIZED VIEW near AS SELECT e.id, f.v AS other, e.ts FROM e LEFT JOIN f ON e.k = f.k
AND f.ts BETWEEN e.ts - INTERVAL '10 seconds' AND e.ts + INTERVAL '1 minute';
CREATE MATERIALIZED VIEW last AS SELECT e.id, f.v AS newest FROM e ASOF LEFT JOIN f ON e.k = f.k AND e.ts >= f.ts;
CREATE MATERIALIZED VIEW both AS SELECT id, ts FROM e UNION ALL SELECT id, ts FROM f WHERE NOT (v IS NULL) OR k LIKE 'a%';
