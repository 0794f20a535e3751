CREATE TABLE a (
  match_id STRING, engagement_type STRING, watch_ms BIGINT, event_time BIGINT,
  ts AS TO_TIMESTAMP_LTZ(event_time, 3),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'file://${A}', 'format' = 'json');
CREATE TABLE b (
  match_id STRING, engagement_type STRING, watch_ms BIGINT, event_time BIGINT,
  ts AS TO_TIMESTAMP_LTZ(event_time, 3),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'file://${B}', 'format' = 'json');
