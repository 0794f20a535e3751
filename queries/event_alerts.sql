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
CREATE MATERIALIZED VIEW event_alerts WITH ('primary-key' = 'alert_id, kind') AS
SELECT event_id AS alert_id, match_id, 'late_goal' AS kind, 2 AS severity, minute, team_id, event_time
FROM match_events WHERE event_type IN ('goal', 'own_goal') AND minute >= 85 AND op IS DISTINCT FROM 'retract'
UNION ALL
SELECT event_id, match_id, 'red_card', 3, minute, team_id, event_time
FROM match_events WHERE event_type = 'red_card' AND op IS DISTINCT FROM 'retract'
UNION ALL
SELECT event_id, match_id, 'penalty', 2, minute, team_id, event_time
FROM match_events WHERE event_type = 'penalty' AND op IS DISTINCT FROM 'retract'
UNION ALL
SELECT event_id, match_id, 'goal_cancelled', 3, minute, team_id, event_time
FROM match_events WHERE event_type IN ('goal', 'own_goal') AND op = 'retract';
