-- How likely is each side to win?
--
-- Inputs   live_matches for the score, team_live_stats for red cards
-- Columns  window_start, window_end  UTC: the two minutes that end with this state
--          match_id
--          minute                    of the match clock, stoppage time of the second half added
--          home_score, away_score    goals
--          home_reds, away_reds      players sent off
--          home, draw, away          probabilities of the result, 0 to 1
-- Emission every minute of event time, when a window closes; a match without a scoreboard in the last two minutes has no row
-- Lateness 5 s (both); later rows go to touchline.late
--
-- The scoreboard has no cards: the last score of two minutes is put beside the cards of the same two minutes, whose counts are
-- cumulative and come every 30 s. Two minutes, so that one lost record does no harm. For the same reason this reads the topics and not
-- the views scoreboard and team_stats_1m: a record that is late for its ten seconds, or its minute, still counts here. Goals to expect are
-- those of an average match, 1.53 at home and 1.18 away.
CREATE MATERIALIZED VIEW win_probability WITH ('primary-key' = 'match_id, window_start') AS
WITH scores AS (
  SELECT window_start, window_end, match_id,
         last_value(named_struct('status', status, 'home_score', home_score, 'away_score', away_score,
                                 'minute', CASE WHEN minute >= 90 THEN minute + coalesce(added_time, 0) ELSE minute END)
                    ORDER BY event_time) AS s
  FROM HOP(live_matches, event_time, INTERVAL '1 minute', INTERVAL '2 minutes')
  GROUP BY window_start, window_end, match_id
),
cards AS (
  SELECT window_end, match_id,
         max(red_cards) FILTER (WHERE side = 'home') AS home_reds, max(red_cards) FILTER (WHERE side = 'away') AS away_reds
  FROM HOP(team_live_stats, event_time, INTERVAL '1 minute', INTERVAL '2 minutes')
  GROUP BY window_end, match_id
),
estimated AS (
  SELECT l.window_start, l.window_end, l.match_id, l.s, c.home_reds, c.away_reds,
         win_probability(l.s['home_score'], l.s['away_score'], l.s['minute'], 1.53, 1.18, c.home_reds, c.away_reds,
                         l.s['status'] = 'FINISHED') AS p
  FROM scores l
  LEFT JOIN cards c ON c.window_end = l.window_end AND c.match_id = l.match_id
)
SELECT window_start, window_end, match_id, s['minute'] AS minute, s['home_score'] AS home_score, s['away_score'] AS away_score,
       coalesce(home_reds, 0) AS home_reds, coalesce(away_reds, 0) AS away_reds,
       p['home'] AS home, p['draw'] AS draw, p['away'] AS away
FROM estimated
EMIT ON WINDOW CLOSE;
