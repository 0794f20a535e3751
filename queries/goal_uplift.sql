-- How much more does the crowd do after a goal, a red card, a penalty or a review?
--
-- Inputs   match_events and engagements
-- Columns  window_end                UTC: a minute after the ten seconds in which it happened began
--          match_id
--          event_id, event_type, team_id, event_time (UTC)  what happened
--          after_n                   acts in the minute up to window_end
--          before_n                  acts in the five minutes before that minute
--          uplift                    acts a second after, as a multiple of those before; half an act is added to both counts
-- Emission once, a minute after the event
-- Lateness 5 s (both); later rows go to touchline.late
--
-- The minute begins with the ten seconds of the event, not with the event: joining each event with the acts around it needs a join of
-- two streams, which the dialect cannot say yet. Here both are put into one stream and counted in two windows that end together, the
-- last minute and the last six. Of several events of a match within the same ten seconds the first is shown.
CREATE MATERIALIZED VIEW goal_uplift WITH ('primary-key' = 'match_id, window_end') AS
WITH happenings AS (
  SELECT match_id, event_time, NULL AS event_id, NULL AS event_type, NULL AS team_id, 1 AS acts
  FROM engagements
  UNION ALL
  SELECT match_id, event_time, event_id, event_type, team_id, 0
  FROM match_events
  WHERE event_type IN ('goal', 'own_goal', 'red_card', 'penalty', 'var_review')
    AND revision = 0
),
minutes AS (
  SELECT window_time AS at, window_end AS until, match_id, sum(acts) AS after_n, 0 AS all_n,
         min(event_time) FILTER (WHERE event_id IS NOT NULL) AS happened,
         first_value(event_id ORDER BY event_time, event_id) FILTER (WHERE event_id IS NOT NULL) AS event_id,
         first_value(event_type ORDER BY event_time, event_id) FILTER (WHERE event_id IS NOT NULL) AS event_type,
         first_value(team_id ORDER BY event_time, event_id) FILTER (WHERE event_id IS NOT NULL) AS team_id
  FROM HOP(happenings, event_time, INTERVAL '10 seconds', INTERVAL '60 seconds')
  GROUP BY window_time, window_end, match_id
),
spans AS (
  SELECT at, until, match_id, after_n, all_n, happened, event_id, event_type, team_id
  FROM minutes
  WHERE happened < until - INTERVAL '50 seconds'
  UNION ALL
  SELECT window_time, window_end, match_id, 0, sum(acts), NULL, NULL, NULL, NULL
  FROM HOP(happenings, event_time, INTERVAL '10 seconds', INTERVAL '360 seconds')
  GROUP BY window_time, window_end, match_id
)
SELECT until AS window_end, match_id, max(event_id) AS event_id, max(event_type) AS event_type, max(team_id) AS team_id,
       max(happened) AS event_time, sum(after_n) AS after_n, sum(all_n) - sum(after_n) AS before_n,
       uplift_smoothed(sum(after_n), 60.0, sum(all_n) - sum(after_n), 300.0) AS uplift
FROM TUMBLE(spans, at, INTERVAL '10 seconds')
GROUP BY window_end, until, match_id
HAVING max(event_id) IS NOT NULL
EMIT ON WINDOW CLOSE;
