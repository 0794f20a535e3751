-- How long does each viewer stay, and what do they do meanwhile?
--
-- Inputs   engagements
-- Columns  window_start, window_end  UTC: the first act, and five minutes after the last
--          match_id, user_id
--          events                    acts
--          reactions                 of these
--          length_s                  from the first act to the last, seconds
--          first_act, last_act       their kinds, as join or emoji_goal
--          device_type               mobile, desktop, tablet, tv or unknown; the last of them by name, should there be several
--          left_explicitly           the viewer has said goodbye
-- Emission once, when five minutes have passed without an act
-- Lateness 5 s (engagements); later rows go to touchline.late, unless the session is still open
--
-- Silence ends a session, and not the session_id of the apps: that is what engagement_archive can be asked for.
CREATE MATERIALIZED VIEW viewer_sessions WITH ('primary-key' = 'match_id, user_id, window_start') AS
SELECT window_start, window_end, match_id, user_id,
       count(*) AS events,
       count(*) FILTER (WHERE engagement_type = 'reaction') AS reactions,
       (CAST(max(event_time) AS BIGINT) - CAST(min(event_time) AS BIGINT)) / 1000.0 AS length_s,
       first_value(engagement_subtype ORDER BY event_time, engagement_subtype) AS first_act,
       last_value(engagement_subtype ORDER BY event_time, engagement_subtype) AS last_act,
       max(device_type) AS device_type,
       bool_or(engagement_subtype = 'leave') AS left_explicitly
FROM SESSION(engagements PARTITION BY match_id, user_id, event_time, INTERVAL '5 minutes')
GROUP BY window_start, window_end, match_id, user_id
EMIT ON WINDOW CLOSE;
