WITH both_files AS (SELECT * FROM a UNION ALL SELECT * FROM b)
SELECT window_start, match_id, engagement_type, count(*) AS events, sum(watch_ms) AS watch_ms
FROM TUMBLE(both_files, event_time, INTERVAL '1 minute')
GROUP BY window_start, window_end, match_id, engagement_type
