-- Everything that happened on the pitch, kept for ever.
--
-- Inputs   match_events
-- Columns  those of the topic, and event_date (UTC day) to narrow a search by
-- Emission each row as it comes; corrections are rows of their own, and so is a record that was sent twice
-- Lateness none: rows are not grouped
--
-- How a match stands after all corrections is a question to this view: README.md, "When reading".
-- Parquet only: 'postgres' = 'false', because the hot table would hold every row a second time.
CREATE MATERIALIZED VIEW match_archive WITH ('postgres' = 'false') AS
SELECT event_id, match_id, event_type, team_id, team_side, player_id, player_name, assist_player_id, minute, added_time, period,
       x, y, end_x, end_y, completed, body_part, shot_type, xg, description, op, revision,
       event_time, CAST(event_time AS DATE) AS event_date, source_partition, source_offset
FROM match_events;
