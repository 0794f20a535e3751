-- The teams, a static table to look up. These are the simulator's; put your own file in their place.
CREATE TABLE teams (
  team_id   VARCHAR NOT NULL COMMENT 'team',
  team_name VARCHAR NOT NULL COMMENT 'full name',
  city      VARCHAR          COMMENT 'where it is at home'
) WITH ('connector' = 'filesystem', 'path' = 'data/teams.csv', 'format' = 'csv');
