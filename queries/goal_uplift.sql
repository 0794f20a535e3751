-- How much more does the crowd do after a goal, a red card, a penalty or a review?
--
-- Inputs   match_events and engagements
-- Columns  match_id, event_id, event_type, team_id, event_time (UTC)  what happened
--          after_n                   acts in the minute from then on
--          users_after               viewers whose acts these are
--          before_n                  acts in the five minutes before
--          uplift                    acts a second after, as a multiple of those before; half an act is added to both counts
-- Emission once, when the minute after the event is over
-- Lateness 5 s (both); later rows go to touchline.late
--
-- Each event is joined with the acts around it. One that nobody has answered has a row, too. A record of an event that came twice is one
-- event: so the events of each second are gathered before they are joined, and a second bounds the join as well as the event itself.
CREATE MATERIALIZED VIEW goal_uplift WITH ('primary-key' = 'match_id, event_id') AS
WITH happened AS (
  SELECT window_start AS at, match_id, event_id, event_type, team_id, min(event_time) AS event_time
  FROM TUMBLE(match_events, event_time, INTERVAL '1 second')
  WHERE event_type IN ('goal', 'own_goal', 'red_card', 'penalty', 'var_review')
    AND revision = 0
  GROUP BY window_start, match_id, event_id, event_type, team_id
),
around AS (
  SELECT h.at, h.match_id, h.event_id, h.event_type, h.team_id, h.event_time, e.user_id,
         e.event_time >= h.event_time AS is_after
  FROM happened h
  LEFT JOIN engagements e ON e.match_id = h.match_id
    AND e.event_time BETWEEN h.at - INTERVAL '5 minutes' AND h.at + INTERVAL '61 seconds'
    AND e.event_time >= h.event_time - INTERVAL '5 minutes'
    AND e.event_time < h.event_time + INTERVAL '60 seconds'
),
counted AS (
  SELECT match_id, event_id, event_type, team_id, event_time,
         count(*) FILTER (WHERE is_after) AS after_n,
         count(DISTINCT user_id) FILTER (WHERE is_after) AS users_after,
         count(*) FILTER (WHERE NOT is_after) AS before_n
  FROM TUMBLE(around, at, INTERVAL '1 second')
  GROUP BY window_start, match_id, event_id, event_type, team_id, event_time
)
SELECT match_id, event_id, event_type, team_id, event_time, after_n, users_after, before_n,
       uplift_smoothed(after_n, 60.0, before_n, 300.0) AS uplift
FROM counted
EMIT ON WINDOW CLOSE;
