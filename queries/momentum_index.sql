-- Which side has the upper hand now, on a scale from -1 (away) to 1 (home)?
--
-- Inputs   match_events
-- Columns  window_start, window_end  UTC: the ten minutes that are looked back on
--          match_id
--          home_weight, away_weight  sums of action_weight, no unit
--          momentum                  -1 to 1; NULL where red cards outweigh all else
-- Emission every minute of event time, when a window closes
-- Lateness 5 s (match_events); later rows go to touchline.late
CREATE MATERIALIZED VIEW momentum_index WITH ('primary-key' = 'match_id, window_start') AS
SELECT window_start, window_end, match_id, home_weight, away_weight,
       momentum_index(home_weight, away_weight) AS momentum
FROM (
  SELECT window_start, window_end, match_id,
         sum(CASE WHEN team_side = 'home' THEN action_weight(event_type) ELSE 0.0 END) AS home_weight,
         sum(CASE WHEN team_side = 'away' THEN action_weight(event_type) ELSE 0.0 END) AS away_weight
  FROM HOP(match_events, event_time, INTERVAL '1 minute', INTERVAL '10 minutes')
  WHERE op IS DISTINCT FROM 'retract'
  GROUP BY window_start, window_end, match_id
)
EMIT ON WINDOW CLOSE;
