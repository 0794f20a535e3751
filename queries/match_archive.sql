-- Everything that happened on the pitch but passes, kept for ever.
--
-- Inputs   match_events
-- Columns  those of the topic, and event_date (UTC day) to narrow a search by
-- Emission each row as it comes; corrections are rows of their own
-- Lateness none: rows are not grouped
-- Parquet only: 'postgres' = 'false', because the hot table would hold every row a second time.
CREATE MATERIALIZED VIEW match_archive WITH ('postgres' = 'false') AS
SELECT event_id, match_id, event_type, team_id, team_side, player_id, assist_player_id, minute, added_time, period,
       x, y, body_part, shot_type, op, revision, event_time, CAST(event_time AS DATE) AS event_date,
       source_partition, source_offset
FROM match_events
WHERE event_type <> 'pass';
