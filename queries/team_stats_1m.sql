-- How do the two teams compare so far?
--
-- Inputs   team_live_stats; teams, looked up
-- Columns  window_start, window_end  UTC: the minute that ends with these counts
--          match_id, team_id, side
--          team_name                 NULL where the team is not in teams
--          possession_pct, pass_accuracy  percent; NULL before the first pass
--          shots, shots_on_target, corners, fouls, offsides, yellow_cards, red_cards, saves  so far in the match
--          xg                        sum of the shots' expected goals so far
-- Emission every minute of event time, when a window closes; a team of which nothing comes in a minute has no row
-- Lateness 5 s (team_live_stats); later rows go to touchline.late
--
-- The counts are cumulative: the last record of a minute says all, and what happened in between is the difference of two rows.
CREATE MATERIALIZED VIEW team_stats_1m WITH ('primary-key' = 'match_id, team_id, window_start') AS
WITH latest AS (
  SELECT window_start, window_end, match_id, team_id,
         last_value(named_struct('side', side, 'possession_pct', possession_pct, 'pass_accuracy', pass_accuracy,
                                 'shots', shots, 'shots_on_target', shots_on_target, 'corners', corners, 'fouls', fouls,
                                 'offsides', offsides, 'yellow_cards', yellow_cards, 'red_cards', red_cards,
                                 'saves', saves, 'xg', xg) ORDER BY event_time) AS s
  FROM TUMBLE(team_live_stats, event_time, INTERVAL '1 minute')
  GROUP BY window_start, window_end, match_id, team_id
)
SELECT l.window_start, l.window_end, l.match_id, l.team_id, l.s['side'] AS side, t.team_name,
       l.s['possession_pct'] AS possession_pct, l.s['pass_accuracy'] AS pass_accuracy,
       l.s['shots'] AS shots, l.s['shots_on_target'] AS shots_on_target, l.s['corners'] AS corners, l.s['fouls'] AS fouls,
       l.s['offsides'] AS offsides, l.s['yellow_cards'] AS yellow_cards, l.s['red_cards'] AS red_cards,
       l.s['saves'] AS saves, l.s['xg'] AS xg
FROM latest l
LEFT JOIN teams t ON t.team_id = l.team_id
EMIT ON WINDOW CLOSE;
