SELECT window_start, match_id, count(*) AS events, sum(watch_ms) AS watch_ms
FROM TUMBLE(a, event_time, INTERVAL '1 minute')
GROUP BY window_start, window_end, match_id
