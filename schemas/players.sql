-- The players, a static table to look up. These are the simulator's; put your own file in their place.
CREATE TABLE players (
  player_id   VARCHAR NOT NULL COMMENT 'player',
  player_name VARCHAR NOT NULL COMMENT 'full name',
  team_id     VARCHAR NOT NULL COMMENT 'team, see teams',
  position    VARCHAR NOT NULL COMMENT 'GK, DEF, MID or FWD',
  shirt       INT              COMMENT 'number on the shirt, 1 to 16'
) WITH ('connector' = 'filesystem', 'path' = 'data/players.csv', 'format' = 'csv');
