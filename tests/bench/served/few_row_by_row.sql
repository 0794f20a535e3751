SELECT event_time, match_id, watch_ms
FROM engagements
WHERE match_id >= '${FIRST}' AND match_id < '${END}'
