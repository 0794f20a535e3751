SELECT CAST(ts AS TIMESTAMP(3)) AS event_time, match_id, watch_ms / 1000 AS watch_s
FROM engagements
WHERE engagement_type = 'reaction' AND watch_ms >= 50000
