-- How much does the audience do, minute by minute, and what?
--
-- Inputs   engagements
-- Columns  window_start, window_end  UTC
--          match_id, engagement_type
--          events                    number of acts
--          users                     viewers who did them, estimated within about 2 %, small numbers within 3
--          per_user                  acts per such viewer and minute
-- Emission once, when a window closes
-- Lateness 5 s (engagements); later rows go to touchline.late
CREATE MATERIALIZED VIEW engagement_per_minute WITH ('primary-key' = 'match_id, engagement_type, window_start') AS
SELECT window_start, window_end, match_id, engagement_type, events, users,
       engagement_rate(events, users, 1.0) AS per_user
FROM (
  SELECT window_start, window_end, match_id, engagement_type,
         count(*) AS events, approx_distinct(user_id) AS users
  FROM TUMBLE(engagements, event_time, INTERVAL '1 minute')
  GROUP BY window_start, window_end, match_id, engagement_type
)
EMIT ON WINDOW CLOSE;
