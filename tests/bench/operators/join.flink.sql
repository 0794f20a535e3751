SELECT CAST(a.ts AS TIMESTAMP(3)) AS event_time, a.match_id, a.engagement_type, b.watch_ms - a.watch_ms AS watch_ms
FROM a
JOIN b ON b.match_id = a.match_id AND b.engagement_type = a.engagement_type
  AND b.ts BETWEEN a.ts - INTERVAL '60' SECOND AND a.ts + INTERVAL '60' SECOND
