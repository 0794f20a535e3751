-- Counts of a team so far in a match. They are cumulative: take the last of a span, never the sum.
CREATE TABLE team_live_stats (
  match_id         VARCHAR NOT NULL      COMMENT 'match; also the key of the record',
  team_id          VARCHAR NOT NULL      COMMENT 'team, see teams',
  team             VARCHAR               COMMENT 'name of the team',
  side             VARCHAR               COMMENT 'home or away',
  possession_pct   DOUBLE                COMMENT 'share of both sides'' passes, percent; NULL before the first',
  shots            INT                   COMMENT 'shots so far',
  shots_on_target  INT                   COMMENT 'shots on target so far, goals among them',
  corners          INT                   COMMENT 'corners so far',
  fouls            INT                   COMMENT 'fouls committed so far',
  offsides         INT                   COMMENT 'offsides so far',
  yellow_cards     INT                   COMMENT 'yellow cards so far',
  red_cards        INT                   COMMENT 'red cards so far',
  saves            INT                   COMMENT 'saves of the goalkeeper so far',
  passes           INT                   COMMENT 'attempted passes so far',
  passes_completed INT                   COMMENT 'completed passes so far',
  pass_accuracy    DOUBLE                COMMENT 'completed passes among those attempted, percent; NULL before the first',
  xg               DOUBLE                COMMENT 'sum of the shots'' expected goals so far',
  event_time       TIMESTAMP(3) NOT NULL COMMENT 'UTC, milliseconds: when the counts were taken',
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND
) WITH (
  'connector' = 'kafka', 'topic' = 'team-live-stats', 'format' = 'json', 'on-bad-row' = 'dead-letter',
  'idle-timeout' = '30 seconds', 'watermark-max-future' = '1 minute',
  'aliases.match_id' = 'matchId', 'aliases.team_id' = 'teamId', 'aliases.possession_pct' = 'possessionPct',
  'aliases.shots_on_target' = 'shotsOnTarget', 'aliases.yellow_cards' = 'yellowCards',
  'aliases.red_cards' = 'redCards', 'aliases.passes_completed' = 'passesCompleted',
  'aliases.pass_accuracy' = 'passAccuracy', 'aliases.event_time' = 'timestamp'
);
