SELECT window_start, window_end, match_id, sum(watch_ms) AS watch_ms
FROM TUMBLE(engagements, event_time, INTERVAL '1 second')
GROUP BY window_start, window_end, match_id
