SELECT window_start, match_id, engagement_type, COUNT(*) AS events, AVG(CAST(watch_ms AS DOUBLE)) AS watch_ms
FROM TABLE(HOP(TABLE engagements, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '10' MINUTE))
GROUP BY window_start, window_end, match_id, engagement_type
