CREATE TABLE target (window_start TIMESTAMP(3), match_id STRING, engagement_type STRING, events BIGINT, watch_ms DOUBLE)
WITH (${TARGET});
