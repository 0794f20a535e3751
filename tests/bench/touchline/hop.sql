SELECT window_start, match_id, engagement_type, count(*) AS events, avg(watch_ms) AS watch_ms
FROM HOP(engagements, event_time, INTERVAL '10 seconds', INTERVAL '10 minutes')
GROUP BY window_start, window_end, match_id, engagement_type
