SELECT window_start, match_id, engagement_type, COUNT(*) AS events, AVG(CAST(watch_ms AS DOUBLE)) AS watch_ms
FROM TABLE(TUMBLE(TABLE engagements, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, match_id, engagement_type
