-- What all three queries read; of 11 fields they use 4.
CREATE TABLE engagements (
  match_id        VARCHAR NOT NULL,
  engagement_type VARCHAR NOT NULL,
  watch_ms        BIGINT NOT NULL,
  event_time      TIMESTAMP(3) NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND
) WITH (${SOURCE}, 'format' = 'json', 'on-bad-row' = 'fail');
