-- What must an editor hear of at once?
--
-- Inputs   match_events
-- Columns  alert_id                  the event's id
--          match_id
--          kind                      late_goal, red_card, penalty or goal_cancelled
--          severity                  2 or 3, higher is graver
--          minute                    of the match clock
--          team_id
--          event_time                UTC
-- Emission each row as it comes
-- Lateness none: rows are not grouped
--
-- A row is a record, without a primary key, for the reason given in shots_with_players.sql; a correction of a goal alerts nobody again.
-- A change of lead is not among the alerts: it compares a score with the one before, which needs OVER. The scoreboard has the scores.
CREATE MATERIALIZED VIEW event_alerts AS
SELECT event_id AS alert_id, match_id, 'late_goal' AS kind, 2 AS severity, minute, team_id, event_time
FROM match_events
WHERE event_type IN ('goal', 'own_goal') AND minute >= 85 AND revision = 0
UNION ALL
SELECT event_id, match_id, 'red_card', 3, minute, team_id, event_time
FROM match_events WHERE event_type = 'red_card' AND revision = 0
UNION ALL
SELECT event_id, match_id, 'penalty', 2, minute, team_id, event_time
FROM match_events WHERE event_type = 'penalty' AND revision = 0
UNION ALL
SELECT event_id, match_id, 'goal_cancelled', 3, minute, team_id, event_time
FROM match_events WHERE event_type IN ('goal', 'own_goal') AND op = 'retract';
