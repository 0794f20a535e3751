-- Does the crowd stir? A goal shows here within seconds.
--
-- Inputs   engagements
-- Columns  window_start, window_end  UTC
--          match_id
--          events                    acts of any kind
--          reactions                 of these, cheers, boos and emoji
--          about_an_event            of these, the ones that name the match event they answer
-- Emission once, when a window closes; 3 s after the last act if nothing follows
-- Lateness 5 s (engagements); later rows go to touchline.late
CREATE MATERIALIZED VIEW crowd_10s WITH ('primary-key' = 'match_id, window_start') AS
SELECT window_start, window_end, match_id,
       count(*) AS events,
       count(*) FILTER (WHERE engagement_type = 'reaction') AS reactions,
       count(related_game_event_id) AS about_an_event
FROM TUMBLE(engagements, event_time, INTERVAL '10 seconds')
GROUP BY window_start, window_end, match_id
EMIT TIMEOUT INTERVAL '3 seconds';
