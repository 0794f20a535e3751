-- How good is each player so far?
--
-- Inputs   player_live_stats; players, looked up
-- Columns  window_start, window_end  UTC: the minute that ends with these counts
--          match_id, player_id
--          player_name, position     NULL where the player is not in players
--          shots, goals, assists     so far in the match
--          pass_accuracy             completed passes among those attempted, percent; NULL before the first
--          rating                    1 to 10, 6 is an average player; cards are not among the counts of the topic
-- Emission every minute of event time, when a window closes; a player of whom nothing comes in a minute has no row
-- Lateness 5 s (player_live_stats); later rows go to touchline.late
--
-- The counts are cumulative, so the last record of a minute says all. The rank within a match compares newest rows, which is done when
-- reading (README.md); one row a player, replaced again and again, would take results back, which the dialect cannot say yet.
CREATE MATERIALIZED VIEW player_ratings WITH ('primary-key' = 'match_id, player_id, window_start') AS
WITH latest AS (
  SELECT window_start, window_end, match_id, player_id,
         last_value(named_struct('shots', shots, 'shots_on_target', shots_on_target, 'goals', goals, 'assists', assists,
                                 'tackles', tackles, 'interceptions', interceptions,
                                 'pass_accuracy', pass_accuracy) ORDER BY event_time) AS s
  FROM TUMBLE(player_live_stats, event_time, INTERVAL '1 minute')
  GROUP BY window_start, window_end, match_id, player_id
)
SELECT l.window_start, l.window_end, l.match_id, l.player_id, p.player_name, p.position,
       l.s['shots'] AS shots, l.s['goals'] AS goals, l.s['assists'] AS assists, l.s['pass_accuracy'] AS pass_accuracy,
       live_rating(l.s['goals'], l.s['assists'], l.s['shots_on_target'], l.s['tackles'], l.s['interceptions'],
                   l.s['pass_accuracy'], 0, 0) AS rating
FROM latest l
LEFT JOIN players p ON p.player_id = l.player_id
EMIT ON WINDOW CLOSE;
