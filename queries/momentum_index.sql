-- Which side has the upper hand now, on a scale from -1 (away) to 1 (home)?
--
-- Inputs   match_events
-- Columns  window_start, window_end  UTC: the ten minutes that are looked back on
--          match_id
--          home_weight, away_weight  sums of action_weight, no unit; an action counts half after 150 s, a quarter after 300 s
--          momentum                  -1 to 1; NULL where red cards outweigh all else
-- Emission every minute of event time, when a window closes
-- Lateness 5 s (match_events); later rows go to touchline.late
--
-- decayed_sum is as of the last action, for an aggregate does not know where its window ends; the factor carries it on to window_end.
-- An action counts once, as first reported: a retraction comes after its window, and a correction would count it twice.
CREATE MATERIALIZED VIEW momentum_index WITH ('primary-key' = 'match_id, window_start') AS
SELECT window_start, window_end, match_id, home * fading AS home_weight, away * fading AS away_weight,
       momentum_index(home * fading, away * fading) AS momentum
FROM (
  SELECT window_start, window_end, match_id,
         decayed_sum(CASE WHEN team_side = 'home' THEN action_weight(event_type) END, event_time, 150.0) AS home,
         decayed_sum(CASE WHEN team_side = 'away' THEN action_weight(event_type) END, event_time, 150.0) AS away,
         power(0.5, (extract(epoch FROM window_end) - extract(epoch FROM max(event_time))) / 150.0) AS fading
  FROM HOP(match_events, event_time, INTERVAL '1 minute', INTERVAL '10 minutes')
  WHERE revision = 0
  GROUP BY window_start, window_end, match_id
)
EMIT ON WINDOW CLOSE;
