-- How many react to a goal within a minute, and on which devices?
--
-- Inputs   match_events and engagements
-- Columns  match_id, event_id, team_id, event_time (UTC)  the goal, or own goal
--          device_type               mobile, desktop, tablet, tv or unknown
--          reactions                 in the minute from the goal on
--          users                     viewers who reacted
--          first_at                  UTC: the first of them
-- Emission once, a minute after the goal
-- Lateness 5 s (both); later rows go to touchline.late
--
-- Each goal is joined with the reactions of its minute. A record that came twice counts once. A device on which nobody reacted has no row.
CREATE MATERIALIZED VIEW goal_reactions WITH ('primary-key' = 'match_id, event_id, device_type') AS
WITH answered AS (
  SELECT g.event_time, g.match_id, g.event_id, g.team_id, e.device_type, e.event_id AS reaction, e.user_id,
         e.event_time AS reacted_at
  FROM match_events g
  JOIN engagements e ON e.match_id = g.match_id
    AND e.event_time >= g.event_time
    AND e.event_time < g.event_time + INTERVAL '60 seconds'
  WHERE g.event_type IN ('goal', 'own_goal')
    AND g.revision = 0
    AND e.engagement_type = 'reaction'
)
SELECT match_id, event_id, team_id, min(event_time) AS event_time, device_type,
       count(DISTINCT reaction) AS reactions,
       count(DISTINCT user_id) AS users,
       min(reacted_at) AS first_at
FROM TUMBLE(answered, event_time, INTERVAL '1 minute')
GROUP BY window_start, match_id, event_id, team_id, device_type
EMIT ON WINDOW CLOSE;
