-- What is the score?
--
-- Inputs   live_matches
-- Columns  window_start, window_end  UTC: the ten seconds that end with this state
--          match_id, competition, home_team, away_team
--          home_score, away_score    goals
--          status                    as in live_matches
--          minute, added_time        of the match clock
--          as_of                     UTC: event time of the record that says so
-- Emission once, when a window closes; a match of which nothing comes in a window has no row
-- Lateness 5 s (live_matches); later rows go to touchline.late
--
-- One row a match, replaced by whatever is newer, would take results back, which the dialect cannot say yet. So this is the state at the
-- end of every ten seconds, the rhythm of the topic; the newest row of a match is its score (README.md, "When reading").
CREATE MATERIALIZED VIEW scoreboard WITH ('primary-key' = 'match_id, window_start') AS
SELECT window_start, window_end, match_id,
       s['competition'] AS competition, s['home_team'] AS home_team, s['away_team'] AS away_team,
       s['home_score'] AS home_score, s['away_score'] AS away_score,
       s['status'] AS status, s['minute'] AS minute, s['added_time'] AS added_time, as_of
FROM (
  SELECT window_start, window_end, match_id, max(event_time) AS as_of,
         last_value(named_struct('competition', competition, 'home_team', home_team, 'away_team', away_team,
                                 'home_score', home_score, 'away_score', away_score,
                                 'status', status, 'minute', minute, 'added_time', added_time) ORDER BY event_time) AS s
  FROM TUMBLE(live_matches, event_time, INTERVAL '10 seconds')
  GROUP BY window_start, window_end, match_id
)
EMIT ON WINDOW CLOSE;
