-- What happens on the pitch, one record an action: passes, shots, goals, fouls, cards, and their corrections.
-- A correction has the event_id of what it corrects and a higher revision; a cancelled goal has op = 'retract'.
CREATE TABLE match_events (
  event_id         VARCHAR NOT NULL      COMMENT 'UUID of the action; the same in every correction of it',
  match_id         VARCHAR NOT NULL      COMMENT 'match; also the key of the record',
  event_type       VARCHAR NOT NULL      COMMENT 'pass, shot, shot_on_target, goal, own_goal, foul, yellow_card, red_card, substitution, offside, corner, free_kick, penalty, penalty_saved, interception, tackle, save, injury, var_review, kickoff, half_time, second_half, full_time',
  team_id          VARCHAR               COMMENT 'acting team, see teams; NULL where none acts, as at half-time',
  team_side        VARCHAR               COMMENT 'home or away; NULL as team_id',
  player_id        VARCHAR               COMMENT 'acting player, see players',
  player_name      VARCHAR               COMMENT 'as the provider spells it',
  assist_player_id VARCHAR               COMMENT 'who passed to the scorer; in a substitution who comes on',
  minute           TINYINT               COMMENT 'minute of the match clock, 0 to 120; stays at 45 and 90 in stoppage time',
  added_time       TINYINT               COMMENT 'minutes of stoppage time, from 1; NULL outside it',
  period           TINYINT               COMMENT 'half of the match, 1 or 2',
  x                DOUBLE                COMMENT 'place along the pitch, 0 to 120, acting side attacks towards 120',
  y                DOUBLE                COMMENT 'place across the pitch, 0 to 80, from the left of the acting side',
  end_x            DOUBLE                COMMENT 'where a pass ends, as x',
  end_y            DOUBLE                COMMENT 'where a pass ends, as y',
  completed        BOOLEAN               COMMENT 'whether a pass arrived; NULL for other actions',
  body_part        VARCHAR               COMMENT 'foot or head; shots only',
  shot_type        VARCHAR               COMMENT 'open, free_kick or penalty; shots only',
  xg               DOUBLE                COMMENT 'provider''s probability of a goal, 0 to 1; shots only',
  description      VARCHAR               COMMENT 'free text',
  op               VARCHAR               COMMENT 'upsert or retract',
  revision         INT                   COMMENT 'number of the correction, from 0',
  event_time       TIMESTAMP(3) NOT NULL COMMENT 'UTC, milliseconds: when it happened, for a correction when it was decided',
  source_partition INT METADATA FROM 'partition' VIRTUAL COMMENT 'partition of the record',
  source_offset    BIGINT METADATA FROM 'offset' VIRTUAL COMMENT 'offset of the record in its partition',
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND
) WITH (
  'connector' = 'kafka', 'topic' = 'match-events', 'format' = 'json', 'on-bad-row' = 'dead-letter',
  'idle-timeout' = '30 seconds', 'watermark-max-future' = '1 minute',
  'aliases.event_id' = 'eventId', 'aliases.match_id' = 'matchId', 'aliases.event_type' = 'eventType',
  'aliases.team_id' = 'teamId', 'aliases.team_side' = 'teamSide', 'aliases.player_id' = 'playerId',
  'aliases.player_name' = 'playerName', 'aliases.assist_player_id' = 'assistPlayerId',
  'aliases.added_time' = 'addedTime', 'aliases.end_x' = 'endX', 'aliases.end_y' = 'endY',
  'aliases.body_part' = 'bodyPart', 'aliases.shot_type' = 'shotType', 'aliases.event_time' = 'timestamp'
);
