-- Every act of the audience, kept for ever.
--
-- Inputs   engagements
-- Columns  those of the topic, and event_date (UTC day) to narrow a search by
-- Emission each row as it comes; a record that was sent twice is two rows
-- Lateness none: rows are not grouped
-- Parquet only: 'postgres' = 'false', because the hot table would hold every act of every viewer.
CREATE MATERIALIZED VIEW engagement_archive WITH ('postgres' = 'false') AS
SELECT event_id, match_id, user_id, session_id, engagement_type, engagement_subtype, related_game_event_id, game_minute,
       device_type, platform, country_code, content, event_time, CAST(event_time AS DATE) AS event_date,
       source_partition, source_offset
FROM engagements;
