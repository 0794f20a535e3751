SELECT a.event_time, a.match_id, a.engagement_type, b.watch_ms - a.watch_ms AS watch_ms
FROM a
JOIN b ON b.match_id = a.match_id AND b.engagement_type = a.engagement_type
  AND b.event_time BETWEEN a.event_time - INTERVAL '60 seconds' AND a.event_time + INTERVAL '60 seconds'
