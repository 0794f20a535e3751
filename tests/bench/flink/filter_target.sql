CREATE TABLE target (event_time TIMESTAMP(3), match_id STRING, watch_s BIGINT) WITH (${TARGET});
