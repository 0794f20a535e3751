SELECT window_start, window_end, match_id, engagement_type, count(*) AS events, sum(watch_ms) AS watch_ms
FROM TUMBLE(engagements, event_time, INTERVAL '1 hour')
GROUP BY window_start, window_end, match_id, engagement_type
EMIT CHANGES
