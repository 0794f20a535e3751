-- Which side threatened, five minutes by five minutes?
--
-- Inputs   match_events
-- Columns  window_start, window_end  UTC
--          match_id, team_id, team_side
--          shots                     number of shots, penalties among them
--          xg                        their expected goals; NULL without a shot whose place is known
--          goal_probability          chance of at least one goal from them, 0 to 1
--          xt                        threat added by completed passes, probability of a goal; NULL without any
--          corners                   number
-- Emission once, when a window closes; a side that did nothing in a window has no row
-- Lateness 5 s (match_events); later rows go to touchline.late
--
-- A shot counts once, as first reported: a retraction comes after its window, and a correction would count it twice.
CREATE MATERIALIZED VIEW momentum_5m WITH ('primary-key' = 'match_id, team_id, window_start') AS
SELECT window_start, window_end, match_id, team_id, team_side,
       count(*) FILTER (WHERE event_type IN ('shot', 'shot_on_target', 'goal')) AS shots,
       sum(xg(x, y, body_part, shot_type)) FILTER (WHERE event_type IN ('shot', 'shot_on_target', 'goal')) AS xg,
       xg_at_least_one(xg(x, y, body_part, shot_type)) FILTER (WHERE event_type IN ('shot', 'shot_on_target', 'goal')) AS goal_probability,
       sum(xt_added(x, y, end_x, end_y)) FILTER (WHERE event_type = 'pass' AND completed) AS xt,
       count(*) FILTER (WHERE event_type = 'corner') AS corners
FROM TUMBLE(match_events, event_time, INTERVAL '5 minutes')
WHERE team_id IS NOT NULL AND revision = 0
GROUP BY window_start, window_end, match_id, team_id, team_side
EMIT ON WINDOW CLOSE;
