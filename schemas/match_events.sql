-- What happens on the pitch, one record an action: passes, shots, goals, fouls, cards, and their corrections.
-- A correction has the event_id of what it corrects and a higher revision; a cancelled goal has op = 'retract'.
--
-- Two tables of one topic: match_events_raw has the records as providers spell them, match_events the one spelling that queries read.

CREATE TABLE match_events_raw (
  event_id         UUID                  COMMENT 'the action; the same in every correction of it; NULL from providers that name none',
  match_id         VARCHAR NOT NULL      COMMENT 'match; also the key of the record',
  event_type       VARCHAR NOT NULL      COMMENT 'one of the words below, in small letters or capitals',
  team_id          VARCHAR               COMMENT 'acting team, see teams, or 1 home and 2 away; NULL where none acts, as at half-time',
  team             VARCHAR               COMMENT 'its name, from providers that do not send team_id; or home or away',
  team_side        VARCHAR               COMMENT 'home or away; NULL as team_id',
  player_id        VARCHAR               COMMENT 'acting player, see players',
  player_name      VARCHAR               COMMENT 'as the provider spells it',
  assist_player_id VARCHAR               COMMENT 'who passed to the scorer; in a substitution who comes on',
  minute           INT                   COMMENT 'minute of the match clock, 0 to 120; stays at 45 and 90 in stoppage time',
  added_time       INT                   COMMENT 'minutes of stoppage time, from 1; NULL outside it',
  period           INT                   COMMENT 'half of the match, 1 or 2',
  x                DOUBLE                COMMENT 'place along the pitch, 0 to 120, acting side attacks towards 120',
  y                DOUBLE                COMMENT 'place across the pitch, 0 to 80, from the left of the acting side',
  end_x            DOUBLE                COMMENT 'where a pass ends, as x',
  end_y            DOUBLE                COMMENT 'where a pass ends, as y',
  completed        BOOLEAN               COMMENT 'whether a pass arrived; NULL for other actions',
  body_part        VARCHAR               COMMENT 'foot or head; shots only',
  shot_type        VARCHAR               COMMENT 'open, free_kick or penalty; shots only',
  xg               DOUBLE                COMMENT 'provider''s probability of a goal, 0 to 1; shots only',
  description      VARCHAR               COMMENT 'free text',
  metadata         STRUCT<minute INT, "assistPlayerId" VARCHAR> COMMENT 'where some providers have the minute and the assist',
  op               VARCHAR               COMMENT 'upsert or retract; NULL is upsert',
  revision         INT                   COMMENT 'number of the correction, from 0; NULL is 0',
  event_time       TIMESTAMP(3) NOT NULL COMMENT 'UTC, milliseconds: when it happened, for a correction when it was decided',
  source_partition INT METADATA FROM 'partition' VIRTUAL COMMENT 'partition of the record',
  source_offset    BIGINT METADATA FROM 'offset' VIRTUAL COMMENT 'offset of the record in its partition',
  CHECK (event_type IN ('pass', 'shot', 'shot_on_target', 'goal', 'own_goal', 'foul', 'yellow_card', 'red_card', 'substitution',
                        'offside', 'corner', 'free_kick', 'penalty', 'penalty_saved', 'interception', 'tackle', 'save', 'injury',
                        'var_review', 'kickoff', 'half_time', 'second_half', 'full_time', 'PASS', 'SHOT', 'SHOT_ON_TARGET', 'GOAL',
                        'OWN_GOAL', 'FOUL', 'YELLOW_CARD', 'RED_CARD', 'SUBSTITUTION', 'OFFSIDE', 'CORNER', 'FREE_KICK', 'PENALTY',
                        'PENALTY_SAVED', 'INTERCEPTION', 'TACKLE', 'SAVE', 'INJURY', 'VAR_REVIEW', 'KICKOFF', 'HALF_TIME', 'SECOND_HALF',
                        'FULL_TIME')),
  CHECK (minute BETWEEN 0 AND 120),
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND
) WITH (
  'connector' = 'kafka', 'topic' = 'match-events', 'format' = 'json', 'on-bad-row' = 'dead-letter',
  'idle-timeout' = '30 seconds', 'watermark-max-future' = '1 minute',
  -- Some providers number their teams and players.
  'numbers-as-text' = 'team_id, player_id, assist_player_id',
  'aliases.event_id' = 'eventId', 'aliases.match_id' = 'matchId', 'aliases.event_type' = 'eventType',
  'aliases.team_id' = 'teamId', 'aliases.team_side' = 'teamSide, side', 'aliases.player_id' = 'playerId',
  'aliases.player_name' = 'playerName', 'aliases.assist_player_id' = 'assistPlayerId',
  'aliases.added_time' = 'addedTime', 'aliases.end_x' = 'endX', 'aliases.end_y' = 'endY',
  'aliases.body_part' = 'bodyPart', 'aliases.shot_type' = 'shotType', 'aliases.event_time' = 'timestamp'
);

-- The same columns but for team and metadata: words in small letters, the team by its id. Where a record says neither side nor name, teams
-- 1 and 2 are those at home and away; where it has no event_id, one is made of what tells the action from others. revision = 0 says that a
-- row is a first report, neither a correction nor a retraction.
CREATE VIEW match_events AS
SELECT coalesce(r.event_id, concat_ws(':', r.match_id, r.event_time, lower(r.event_type), r.team, r.team_id, r.player_id)) AS event_id,
       r.match_id, lower(r.event_type) AS event_type,
       coalesce(r.team_id, t.team_id) AS team_id,
       coalesce(lower(r.team_side), CASE WHEN lower(r.team) IN ('home', 'away') THEN lower(r.team) END,
                CASE r.team_id WHEN '1' THEN 'home' WHEN '2' THEN 'away' END) AS team_side,
       r.player_id, r.player_name,
       coalesce(r.assist_player_id, r.metadata['assistPlayerId']) AS assist_player_id,
       coalesce(r.minute, r.metadata['minute']) AS minute, r.added_time, r.period,
       r.x, r.y, r.end_x, r.end_y, r.completed, lower(r.body_part) AS body_part, lower(r.shot_type) AS shot_type, r.xg,
       r.description, coalesce(lower(r.op), 'upsert') AS op,
       CAST(greatest(coalesce(r.revision, 0), CASE WHEN lower(r.op) = 'retract' THEN 1 ELSE 0 END) AS INT) AS revision,
       r.event_time, r.source_partition, r.source_offset
FROM match_events_raw r
LEFT JOIN teams t ON t.team_name = r.team;
