-- How long does the audience of a match stay? Who is still there after one minute, after two, and so on.
--
-- Inputs   viewer_sessions
-- Columns  window_start, window_end  UTC: the day so far
--          match_id
--          minutes                   full minutes from the first act of a session to its last
--          viewers                   whose longest session of the day so far has lasted so many, or more
--          share                     of the viewers of whom a session has ended on that day so far, 0 to 1
-- Emission every hour of event time, when it is over; the last row of a day is that of midnight UTC
-- Lateness that of viewer_sessions; a session counts when it ends, five minutes after its last act
--
-- A number of minutes after which nobody's longest session ends has no row: the curve is level there, and the next row holds.
CREATE MATERIALIZED VIEW viewer_retention WITH ('primary-key' = 'match_id, minutes, window_end') AS
WITH ended AS (
  SELECT window_end AS at, match_id, user_id, length_s FROM viewer_sessions
),
longest AS (
  SELECT window_start, window_end, match_id, user_id, CAST(floor(max(length_s) / 60) AS BIGINT) AS minutes
  FROM CUMULATE(ended, at, INTERVAL '1 hour', INTERVAL '1 day')
  GROUP BY window_start, window_end, match_id, user_id
),
leaving AS (
  SELECT window_start, window_end, match_id, minutes, count(*) AS leave
  FROM longest
  GROUP BY window_start, window_end, match_id, minutes
),
staying AS (
  SELECT window_start, window_end, match_id, minutes,
         sum(leave) OVER (PARTITION BY window_end, match_id ORDER BY minutes DESC) AS viewers,
         sum(leave) OVER (PARTITION BY window_end, match_id) AS everyone
  FROM leaving
)
SELECT window_start, window_end, match_id, minutes, viewers, viewers * 1.0 / everyone AS share
FROM staying
EMIT ON WINDOW CLOSE;
