SELECT make_timestamp_ms(a.event_time) AS event_time, a.match_id, a.engagement_type, b.watch_ms - a.watch_ms AS watch_ms
FROM a
JOIN b ON b.match_id = a.match_id AND b.engagement_type = a.engagement_type
  AND b.event_time BETWEEN a.event_time - 60000 AND a.event_time + 60000
