-- How does the audience feel?
--
-- Inputs   engagements, reactions only
-- Columns  window_start, window_end  UTC
--          match_id
--          reactions                 number
--          sentiment                 mean mood of those whose mood is known, -1 to 1; NULL without any
--          negative_share            share of reactions with a negative mood, 0 to 1
-- Emission once, when a window closes; a window without reactions has no row
-- Lateness 5 s (engagements); later rows go to touchline.late
CREATE MATERIALIZED VIEW sentiment_30s WITH ('primary-key' = 'match_id, window_start') AS
SELECT window_start, window_end, match_id,
       count(*) AS reactions,
       avg(emoji_sentiment(engagement_subtype)) AS sentiment,
       count(*) FILTER (WHERE emoji_sentiment(engagement_subtype) < 0) * 1.0 / count(*) AS negative_share
FROM TUMBLE(engagements, event_time, INTERVAL '30 seconds')
WHERE engagement_type = 'reaction'
GROUP BY window_start, window_end, match_id
EMIT ON WINDOW CLOSE;
