SELECT window_start, match_id, sum(watch_ms) AS watch_ms
FROM TUMBLE(engagements, event_time, INTERVAL '10 seconds')
WHERE match_id >= '${FIRST}' AND match_id < '${END}'
GROUP BY window_start, window_end, match_id
