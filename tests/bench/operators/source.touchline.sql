CREATE TABLE a (
  match_id        VARCHAR NOT NULL,
  engagement_type VARCHAR NOT NULL,
  watch_ms        BIGINT NOT NULL,
  event_time      TIMESTAMP(3) NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${A}', 'format' = 'json', 'on-bad-row' = 'fail');
CREATE TABLE b (
  match_id        VARCHAR NOT NULL,
  engagement_type VARCHAR NOT NULL,
  watch_ms        BIGINT NOT NULL,
  event_time      TIMESTAMP(3) NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${B}', 'format' = 'json', 'on-bad-row' = 'fail');
