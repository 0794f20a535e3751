-- Who shot, from where, and how good was the chance?
--
-- Inputs   match_events; players and teams, looked up
-- Columns  event_id, event_time (UTC), match_id, minute
--          event_type                shot, shot_on_target or goal
--          player_name, position     NULL where the player is not in players
--          team_name                 NULL where the team is not in teams
--          x, y                      place, 120 by 80
--          xg                        expected goals, 0 to 1; NULL where the place is not known
-- Emission each row as it comes
-- Lateness none: rows are not grouped
--
-- A row is a record, a first report: corrections and retractions are in match_archive. There is no primary key, so that the hot table
-- keeps what Parquet and Flight SQL keep: a record that was sent twice is two rows in all three. With a key the hot table would hold
-- the last row of each key and the others all of them.
CREATE MATERIALIZED VIEW shots_with_players AS
SELECT e.event_id, e.event_time, e.match_id, e.minute, e.event_type,
       p.player_name, p.position, t.team_name, e.x, e.y,
       xg(e.x, e.y, e.body_part, e.shot_type) AS xg
FROM match_events e
LEFT JOIN players p ON p.player_id = e.player_id
LEFT JOIN teams t ON t.team_id = e.team_id
WHERE e.event_type IN ('shot', 'shot_on_target', 'goal') AND e.revision = 0;
