-- What viewers do while they watch, one record an act: reactions, comments, shares, predictions, clicks, sessions.
CREATE TABLE engagements (
  event_id              VARCHAR NOT NULL      COMMENT 'UUID of the act',
  match_id              VARCHAR NOT NULL      COMMENT 'match being watched',
  user_id               VARCHAR NOT NULL      COMMENT 'viewer; also the key of the record',
  session_id            VARCHAR NOT NULL      COMMENT 'one sitting of a viewer',
  engagement_type       VARCHAR NOT NULL      COMMENT 'reaction, comment, video_action, share, prediction, click or session',
  engagement_subtype    VARCHAR               COMMENT 'kind within the type, as emoji_goal, replay or join; not a closed list',
  related_game_event_id VARCHAR               COMMENT 'event_id of the match event it answers, where known',
  game_minute           TINYINT               COMMENT 'minute of the match, 0 to 120, as the viewer''s device claims; never an event time',
  device_type           VARCHAR               COMMENT 'mobile, desktop, tablet, tv or unknown',
  platform              VARCHAR               COMMENT 'ios, android or web',
  country_code          VARCHAR               COMMENT 'ISO 3166-1 alpha-2',
  content               VARCHAR               COMMENT 'text of a comment, else empty',
  event_time            TIMESTAMP(3) NOT NULL COMMENT 'UTC, milliseconds, by the device''s clock',
  source_partition      INT METADATA FROM 'partition' VIRTUAL COMMENT 'partition of the record',
  source_offset         BIGINT METADATA FROM 'offset' VIRTUAL COMMENT 'offset of the record in its partition',
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
