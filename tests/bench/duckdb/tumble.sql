SELECT make_timestamp_ms(event_time // 60000 * 60000) AS window_start, match_id, engagement_type,
       count(*) AS events, avg(watch_ms) AS watch_ms
FROM engagements
GROUP BY ALL
