SELECT window_start, window_end, match_id, count(*) AS events, sum(watch_ms) AS watch_ms
FROM SESSION(a PARTITION BY match_id, event_time, INTERVAL '5 seconds')
GROUP BY window_start, window_end, match_id
