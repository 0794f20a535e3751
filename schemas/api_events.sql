-- POST /api/events: one action on the pitch, as the apps' contract has it.
--
-- A door, which no query reads: the fields of the contract by their names, and its rules. What is right is a record of match_events_raw,
-- too.
CREATE TABLE api_events (
  "eventId"   UUID NOT NULL         COMMENT 'the action',
  "matchId"   VARCHAR NOT NULL      COMMENT 'match; also the key of the record',
  "eventType" VARCHAR NOT NULL      COMMENT 'one of the words below',
  "timestamp" TIMESTAMP(3) NOT NULL COMMENT 'RFC 3339: when it happened',
  "teamId"    INT NOT NULL          COMMENT '1 home, 2 away',
  "playerId"  VARCHAR               COMMENT 'acting player',
  metadata    JSON                  COMMENT 'an object; minute and assistPlayerId are read from it',
  CHECK ("matchId" <> ''),
  CHECK ("teamId" IN (1, 2)),
  CHECK ("eventType" IN ('pass', 'shot', 'shot_on_target', 'goal', 'own_goal', 'foul', 'yellow_card', 'red_card', 'substitution',
                         'offside', 'corner', 'free_kick', 'penalty', 'penalty_saved', 'interception', 'tackle', 'save', 'injury',
                         'var_review', 'kickoff', 'half_time', 'second_half', 'full_time')),
  WATERMARK FOR "timestamp" AS "timestamp" - INTERVAL '5' SECOND
) WITH (
  'connector' = 'kafka', 'topic' = 'match-events', 'format' = 'json', 'timestamp-format' = 'iso-8601',
  'watermark-max-future' = '1 minute',
  'http.path' = '/api/events', 'http.body' = 'record', 'http.key' = 'matchId', 'http.id' = 'eventId'
);
