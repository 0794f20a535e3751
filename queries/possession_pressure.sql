-- Who has the ball, where, and who presses?
--
-- Inputs   match_events
-- Columns  window_start, window_end  UTC: the five minutes that are looked back on
--          match_id
--          home_tilt                 home's share of passes in the final third, 0 to 1; NULL without any
--          home_possession           home's share of all passes, 0 to 1; NULL without any
--          home_ppda, away_ppda      passes the opponent is allowed per defensive action, low is intense; NULL without one
--          home_pass_completion      completed of home's passes, 0 to 1; NULL without any
-- Emission every minute of event time, when a window closes
-- Lateness 5 s (match_events); later rows go to touchline.late
CREATE MATERIALIZED VIEW possession_pressure WITH ('primary-key' = 'match_id, window_start') AS
SELECT window_start, window_end, match_id,
       field_tilt(count(*) FILTER (WHERE event_type = 'pass' AND x >= 80 AND team_side = 'home'),
                  count(*) FILTER (WHERE event_type = 'pass' AND x >= 80 AND team_side = 'away')) AS home_tilt,
       possession_share(count(*) FILTER (WHERE event_type = 'pass' AND team_side = 'home'),
                        count(*) FILTER (WHERE event_type = 'pass' AND team_side = 'away')) AS home_possession,
       ppda(count(*) FILTER (WHERE event_type = 'pass' AND x < 72 AND team_side = 'away'),
            count(*) FILTER (WHERE event_type IN ('tackle', 'interception', 'foul') AND x >= 48 AND team_side = 'home')) AS home_ppda,
       ppda(count(*) FILTER (WHERE event_type = 'pass' AND x < 72 AND team_side = 'home'),
            count(*) FILTER (WHERE event_type IN ('tackle', 'interception', 'foul') AND x >= 48 AND team_side = 'away')) AS away_ppda,
       pass_completion(count(*) FILTER (WHERE event_type = 'pass' AND completed AND team_side = 'home'),
                       count(*) FILTER (WHERE event_type = 'pass' AND team_side = 'home')) AS home_pass_completion
FROM HOP(match_events, event_time, INTERVAL '1 minute', INTERVAL '5 minutes')
WHERE revision = 0
GROUP BY window_start, window_end, match_id
EMIT ON WINDOW CLOSE;
