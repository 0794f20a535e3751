-- When does the crowd do far more than it just did?
--
-- Inputs   engagements
-- Columns  window_end                UTC: end of the ten seconds
--          match_id
--          events                    acts in these ten seconds
--          avg_prev                  mean number in ten seconds of the five minutes before
--          z                         by how many standard deviations of a Poisson count that is above the mean
-- Emission once, when the ten seconds close
-- Lateness 5 s (engagements); later rows go to touchline.late
--
-- The mean is over those ten seconds of the five minutes in which anything was done. Written as windows of windows: OVER the 30 rows
-- before, which the dialect cannot say yet, would reach further back than five minutes in a quiet match. More than twice the mean is
-- asked as well, because acts come in bursts, and z alone would fire on ordinary noise.
CREATE MATERIALIZED VIEW spike_alerts WITH ('primary-key' = 'match_id, window_end') AS
WITH tens AS (
  SELECT window_time AS at, match_id, count(*) AS acts
  FROM TUMBLE(engagements, event_time, INTERVAL '10 seconds')
  GROUP BY window_time, match_id
),
spans AS (
  SELECT window_end, match_id, max(at) AS newest, last_value(acts ORDER BY at) AS events,
         count(*) - 1 AS tens_before, sum(acts) - last_value(acts ORDER BY at) AS acts_before
  FROM HOP(tens, at, INTERVAL '10 seconds', INTERVAL '310 seconds')
  GROUP BY window_end, match_id
),
compared AS (
  SELECT window_end, match_id, events, acts_before * 1.0 / tens_before AS avg_prev
  FROM spans
  WHERE tens_before > 0 AND newest >= window_end - INTERVAL '10 seconds'
)
SELECT window_end, match_id, events, avg_prev, poisson_z(events, avg_prev) AS z
FROM compared
WHERE poisson_z(events, avg_prev) > 6 AND events > 2 * avg_prev
EMIT ON WINDOW CLOSE;
