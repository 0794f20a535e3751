-- How many take part, minute by minute? The curve of a match: its peaks are the moments, its slope is how the audience stays.
--
-- Inputs   engagements
-- Columns  window_start, window_end  UTC
--          match_id
--          events                    number of acts
--          users                     viewers who did them, exact
-- Emission once, when a window closes
-- Lateness 5 s (engagements); later rows go to touchline.late
--
-- The five top moments and the share of the first minute's viewers that is still there rank and compare finished minutes. Both are asked
-- of this view: README.md, "When reading".
CREATE MATERIALIZED VIEW engagement_total_1m WITH ('primary-key' = 'match_id, window_start') AS
SELECT window_start, window_end, match_id, count(*) AS events, count(DISTINCT user_id) AS users
FROM TUMBLE(engagements, event_time, INTERVAL '1 minute')
GROUP BY window_start, window_end, match_id
EMIT ON WINDOW CLOSE;
