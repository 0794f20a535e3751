CREATE TABLE target (window_start TIMESTAMP(3), match_id VARCHAR, engagement_type VARCHAR, events BIGINT, watch_ms DOUBLE)
WITH ('connector' = 'filesystem', 'path' = '${OUT}', 'format' = 'parquet');
