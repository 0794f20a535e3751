-- On which devices do people take part?
--
-- Inputs   engagements
-- Columns  window_start, window_end  UTC
--          match_id, device_type, platform
--          events                    number of acts
--          users                     viewers who did them, exact
-- Emission once, when a window closes
-- Lateness 5 s (engagements); later rows go to touchline.late
--
-- A device's share of the minute divides one row by the sum of several, with OVER: README.md, "When reading".
CREATE MATERIALIZED VIEW device_minutes WITH ('primary-key' = 'match_id, device_type, platform, window_start') AS
SELECT window_start, window_end, match_id,
       device_type, platform,
       count(*) AS events, count(DISTINCT user_id) AS users
FROM TUMBLE(engagements, event_time, INTERVAL '1 minute')
GROUP BY window_start, window_end, match_id, device_type, platform
EMIT ON WINDOW CLOSE;
