-- When does the crowd do far more than it just did?
--
-- Inputs   crowd_10s
-- Columns  window_end                UTC: end of the ten seconds
--          match_id
--          events                    acts in these ten seconds
--          avg_prev                  mean number in ten seconds of the five minutes before
--          z                         by how many standard deviations of a Poisson count that is above the mean
-- Emission once, when the ten seconds close
-- Lateness that of crowd_10s: what came too late there, or cannot be counted there, is in no alert
--
-- Each ten seconds stand beside those of the five minutes before in which anything was done. More than twice their mean is asked as well
-- as z, because acts come in bursts, and z alone would fire on ordinary noise. The pairs are put together again by the last millisecond
-- of the ten seconds.
CREATE MATERIALIZED VIEW spike_alerts WITH ('primary-key' = 'match_id, window_end') AS
WITH beside AS (
  SELECT latest.window_end - INTERVAL '1 millisecond' AS at, latest.match_id, latest.events, earlier.events AS events_before
  FROM crowd_10s latest
  JOIN crowd_10s earlier ON earlier.match_id = latest.match_id
    AND earlier.window_end >= latest.window_end - INTERVAL '5 minutes'
    AND earlier.window_end < latest.window_end
)
SELECT window_end, match_id, events, avg(events_before) AS avg_prev, poisson_z(events, avg(events_before)) AS z
FROM TUMBLE(beside, at, INTERVAL '10 seconds')
GROUP BY window_end, match_id, events
HAVING poisson_z(events, avg(events_before)) > 6 AND events > 2 * avg(events_before)
EMIT ON WINDOW CLOSE;
