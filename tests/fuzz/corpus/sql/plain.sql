CREATE TABLE e (id BIGINT NOT NULL, k VARCHAR, v DOUBLE, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json');
CREATE VIEW named AS WITH x AS (SELECT id AS n, upper(k) AS name, ts FROM e) SELECT n, name, ts FROM x WHERE length(name) > 1;
CREATE MATERIALIZED VIEW shouted AS SELECT n + 1 AS m, name || '!' AS said, CAST(n AS VARCHAR) AS t, ts FROM named;
CREATE MATERIALIZED VIEW above AS SELECT window_start, count(*) AS c FROM TUMBLE(shouted, ts, INTERVAL '1 hour') GROUP BY 1, window_end;
