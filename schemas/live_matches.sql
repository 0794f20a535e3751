-- The scoreboard of every match, sent again and again: the last record of a match is its state.
CREATE TABLE live_matches (
  match_id    VARCHAR NOT NULL      COMMENT 'match; also the key of the record',
  competition VARCHAR               COMMENT 'league or cup',
  home_team   VARCHAR NOT NULL      COMMENT 'name of the home side',
  away_team   VARCHAR NOT NULL      COMMENT 'name of the away side',
  home_score  INT                   COMMENT 'goals of the home side so far',
  away_score  INT                   COMMENT 'goals of the away side so far',
  status      VARCHAR NOT NULL      COMMENT 'one of the words below',
  minute      INT                   COMMENT 'minute of the match clock, 0 to 120',
  added_time  INT                   COMMENT 'minutes of stoppage time, from 1; NULL outside it',
  event_time  TIMESTAMP(3) NOT NULL COMMENT 'UTC, milliseconds: when this was the state',
  CHECK (status IN ('SCHEDULED', 'LIVE', 'HALF_TIME', 'EXTRA_TIME', 'PENALTIES', 'SUSPENDED', 'FINISHED', 'POSTPONED', 'CANCELLED',
                    'ABANDONED', 'AWARDED')),
  CHECK (minute BETWEEN 0 AND 120),
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND
) WITH (
  'connector' = 'kafka', 'topic' = 'live-matches', 'format' = 'json', 'on-bad-row' = 'dead-letter',
  'idle-timeout' = '30 seconds', 'watermark-max-future' = '1 minute',
  'aliases.match_id' = 'matchId', 'aliases.home_team' = 'homeTeam', 'aliases.away_team' = 'awayTeam',
  'aliases.home_score' = 'homeScore', 'aliases.away_score' = 'awayScore', 'aliases.added_time' = 'addedTime',
  'aliases.event_time' = 'timestamp'
);
