CREATE TABLE target (event_time TIMESTAMP(3), match_id VARCHAR, watch_s BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}', 'format' = 'parquet');
