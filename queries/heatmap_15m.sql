-- Where on the pitch is a player at work?
--
-- Inputs   match_events, those with a player
-- Columns  window_start, window_end  UTC
--          match_id, player_id
--          cells                     actions in each of 96 cells of 10 by 10, as a list: 12 along the pitch, then the next row of 12 across it
--          touches                   actions whose place is known, the sum of cells
-- Emission once, when a window closes; a player who did nothing in a window has no row
-- Lateness 5 s (match_events); later rows go to touchline.late
CREATE MATERIALIZED VIEW heatmap_15m WITH ('primary-key' = 'match_id, player_id, window_start') AS
SELECT window_start, window_end, match_id, player_id,
       heatmap(x, y, 12, 8) AS cells, count(x) AS touches
FROM TUMBLE(match_events, event_time, INTERVAL '15 minutes')
WHERE player_id IS NOT NULL AND revision = 0
GROUP BY window_start, window_end, match_id, player_id
EMIT ON WINDOW CLOSE;
