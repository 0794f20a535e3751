-- POST /api/engagements: what viewers do, {"events": [...]}, as the apps' contract has it.
--
-- A door, which no query reads: the fields of the contract by their names, and its rules. What is right is a record of engagements_raw,
-- too.
CREATE TABLE api_engagements (
  event_id              UUID NOT NULL         COMMENT 'the act',
  match_id              VARCHAR NOT NULL      COMMENT 'match being watched',
  user_id               VARCHAR NOT NULL      COMMENT 'viewer; also the key of the record',
  session_id            VARCHAR NOT NULL      COMMENT 'one sitting of a viewer',
  engagement_type       VARCHAR NOT NULL      COMMENT 'one of the words below',
  engagement_subtype    VARCHAR               COMMENT 'kind within the type; not a closed list',
  related_game_event_id UUID                  COMMENT 'event that it answers',
  game_minute           INT                   COMMENT 'minute of the match, as the device claims',
  device_type           VARCHAR               COMMENT 'mobile, desktop, tablet or tv; any other word is unknown',
  platform              VARCHAR               COMMENT 'ios, android or web',
  country_code          VARCHAR               COMMENT 'ISO 3166-1 alpha-2',
  content               VARCHAR               COMMENT 'text of a comment',
  metadata              JSON                  COMMENT 'an object of the app''s own',
  "timestamp"           TIMESTAMP(3) NOT NULL COMMENT 'RFC 3339: when it was done; one that is none is refused, never taken for now',
  CHECK (engagement_type IN ('reaction', 'comment', 'video_action', 'share', 'prediction', 'click', 'session')),
  CHECK (game_minute BETWEEN 0 AND 120),
  WATERMARK FOR "timestamp" AS "timestamp" - INTERVAL '5' SECOND
) WITH (
  'connector' = 'kafka', 'topic' = 'engagements', 'format' = 'json', 'timestamp-format' = 'iso-8601',
  'watermark-max-future' = '1 minute',
  'http.path' = '/api/engagements', 'http.body' = 'events[]', 'http.key' = 'user_id'
);
