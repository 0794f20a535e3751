SELECT make_timestamp_ms(event_time // 60000 * 60000) AS window_start, match_id, engagement_type,
       count(*) AS events, sum(watch_ms)::BIGINT AS watch_ms
FROM (SELECT * FROM a UNION ALL SELECT * FROM b)
GROUP BY ALL
