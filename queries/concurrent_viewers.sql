-- How many are watching now, on which devices?
--
-- Inputs   engagements
-- Columns  window_end                UTC: end of the minute that is looked back on
--          match_id
--          device_type               mobile, desktop, tablet, tv or unknown
--          viewers                   who did anything in that minute and did not leave, exact
-- Emission every ten seconds of event time, when a window closes
-- Lateness 5 s (engagements); later rows go to touchline.late
--
-- A heartbeat of the device counts as doing something. Two steps: the last act of each viewer, then the viewers by device.
CREATE MATERIALIZED VIEW concurrent_viewers WITH ('primary-key' = 'match_id, device_type, window_end') AS
WITH seen AS (
  SELECT window_end, match_id, user_id,
         max(device_type) AS device_type, last_value(engagement_subtype ORDER BY event_time, engagement_subtype) AS last_act
  FROM HOP(engagements, event_time, INTERVAL '10 seconds', INTERVAL '60 seconds')
  GROUP BY window_end, match_id, user_id
)
SELECT window_end, match_id, device_type, count(*) AS viewers
FROM seen
WHERE last_act IS DISTINCT FROM 'leave'
GROUP BY window_end, match_id, device_type
EMIT ON WINDOW CLOSE;
