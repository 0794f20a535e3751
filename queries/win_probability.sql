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
-- The scoreboard has no cards. A join with the cards as they were at that time is not in the dialect yet; the counts of a team are
-- cumulative and come every 30 s, so both are put into one stream, and the last word of each counts. Two minutes, so that one lost
-- record does no harm. Goals to expect are those of an average match, 1.53 at home and 1.18 away.
CREATE MATERIALIZED VIEW win_probability WITH ('primary-key' = 'match_id, window_start') AS
WITH states AS (
  SELECT match_id, event_time, status, home_score, away_score,
         CASE WHEN minute >= 90 THEN minute + coalesce(added_time, 0) ELSE minute END AS minute,
         NULL AS home_reds, NULL AS away_reds
  FROM live_matches
  UNION ALL
  SELECT match_id, event_time, NULL, NULL, NULL, NULL,
         CASE WHEN side = 'home' THEN red_cards END, CASE WHEN side = 'away' THEN red_cards END
  FROM team_live_stats
),
latest AS (
  SELECT window_start, window_end, match_id, max(home_reds) AS home_reds, max(away_reds) AS away_reds,
         last_value(named_struct('status', status, 'home_score', home_score, 'away_score', away_score, 'minute', minute)
                    ORDER BY event_time) FILTER (WHERE status IS NOT NULL) AS s
  FROM HOP(states, event_time, INTERVAL '1 minute', INTERVAL '2 minutes')
  GROUP BY window_start, window_end, match_id
  HAVING count(status) > 0
),
estimated AS (
  SELECT *, win_probability(s['home_score'], s['away_score'], s['minute'], 1.53, 1.18, home_reds, away_reds,
                            s['status'] = 'FINISHED') AS p
  FROM latest
)
SELECT window_start, window_end, match_id, s['minute'] AS minute, s['home_score'] AS home_score, s['away_score'] AS away_score,
       coalesce(home_reds, 0) AS home_reds, coalesce(away_reds, 0) AS away_reds,
       p['home'] AS home, p['draw'] AS draw, p['away'] AS away
FROM estimated
EMIT ON WINDOW CLOSE;
