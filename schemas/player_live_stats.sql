-- Counts of a player so far in a match. They are cumulative: take the last of a span, never the sum.
CREATE TABLE player_live_stats (
  match_id         VARCHAR NOT NULL      COMMENT 'match; also the key of the record',
  player_id        VARCHAR NOT NULL      COMMENT 'player, see players',
  shots            INT                   COMMENT 'shots so far',
  shots_on_target  INT                   COMMENT 'shots on target so far, goals among them',
  goals            INT                   COMMENT 'goals so far, own goals not among them',
  assists          INT                   COMMENT 'assists so far',
  passes_completed INT                   COMMENT 'completed passes so far',
  pass_accuracy    DOUBLE                COMMENT 'completed passes among those attempted, percent; NULL before the first',
  tackles          INT                   COMMENT 'tackles so far',
  interceptions    INT                   COMMENT 'interceptions so far',
  event_time       TIMESTAMP(3) NOT NULL COMMENT 'UTC, milliseconds: when the counts were taken',
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND
) WITH (
  'connector' = 'kafka', 'topic' = 'player-live-stats', 'format' = 'json', 'on-bad-row' = 'dead-letter',
  'idle-timeout' = '30 seconds', 'watermark-max-future' = '1 minute',
  'aliases.match_id' = 'matchId', 'aliases.player_id' = 'playerId', 'aliases.shots_on_target' = 'shotsOnTarget',
  'aliases.passes_completed' = 'passesCompleted', 'aliases.pass_accuracy' = 'passAccuracy',
  'aliases.event_time' = 'timestamp'
);
