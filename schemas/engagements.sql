-- What viewers do while they watch, one record an act: reactions, comments, shares, predictions, clicks, sessions.
--
-- Two tables of one topic: engagements_raw has the records as apps spell them, engagements the one spelling that queries read.

CREATE TABLE engagements_raw (
  event_id              UUID NOT NULL         COMMENT 'the act',
  match_id              VARCHAR NOT NULL      COMMENT 'match being watched',
  user_id               VARCHAR NOT NULL      COMMENT 'viewer; also the key of the record',
  session_id            VARCHAR NOT NULL      COMMENT 'one sitting of a viewer',
  engagement_type       VARCHAR NOT NULL      COMMENT 'one of the words below, in small letters or capitals',
  engagement_subtype    VARCHAR               COMMENT 'kind within the type, as emoji_goal, replay or join; not a closed list',
  related_game_event_id UUID                  COMMENT 'event_id of the match event it answers, where known',
  game_minute           INT                   COMMENT 'minute of the match, 0 to 120, as the viewer''s device claims; never an event time',
  device_type           VARCHAR               COMMENT 'mobile, desktop, tablet or tv; any other word is unknown',
  platform              VARCHAR               COMMENT 'ios, android or web',
  country_code          VARCHAR               COMMENT 'ISO 3166-1 alpha-2',
  content               VARCHAR               COMMENT 'text of a comment, else empty',
  event_time            TIMESTAMP(3) NOT NULL COMMENT 'UTC, milliseconds, by the device''s clock',
  source_partition      INT METADATA FROM 'partition' VIRTUAL COMMENT 'partition of the record',
  source_offset         BIGINT METADATA FROM 'offset' VIRTUAL COMMENT 'offset of the record in its partition',
  CHECK (engagement_type IN ('reaction', 'comment', 'video_action', 'share', 'prediction', 'click', 'session', 'REACTION', 'COMMENT',
                             'VIDEO_ACTION', 'SHARE', 'PREDICTION', 'CLICK', 'SESSION')),
  CHECK (game_minute BETWEEN 0 AND 120),
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND
) WITH (
  'connector' = 'kafka', 'topic' = 'engagements', 'format' = 'json', 'on-bad-row' = 'dead-letter',
  'idle-timeout' = '30 seconds', 'watermark-max-future' = '1 minute',
  'aliases.event_id' = 'eventId', 'aliases.match_id' = 'matchId', 'aliases.user_id' = 'userId',
  'aliases.session_id' = 'sessionId', 'aliases.engagement_type' = 'engagementType',
  'aliases.engagement_subtype' = 'engagementSubtype', 'aliases.related_game_event_id' = 'relatedGameEventId',
  'aliases.game_minute' = 'gameMinute', 'aliases.device_type' = 'deviceType',
  'aliases.country_code' = 'countryCode', 'aliases.event_time' = 'timestamp'
);

-- The same columns: words in small letters, and a device or platform of which nothing is known is called unknown.
CREATE VIEW engagements AS
SELECT event_id, match_id, user_id, session_id, lower(engagement_type) AS engagement_type,
       lower(engagement_subtype) AS engagement_subtype, related_game_event_id, game_minute,
       CASE WHEN lower(device_type) IN ('mobile', 'desktop', 'tablet', 'tv') THEN lower(device_type) ELSE 'unknown' END AS device_type,
       coalesce(lower(platform), 'unknown') AS platform, country_code, content, event_time, source_partition, source_offset
FROM engagements_raw;
