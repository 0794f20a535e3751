-- crowd_10s counts acts, reactions and those about an event by match and ten seconds, and closes when nothing
-- follows.

-- uses ../../../schemas
-- uses ../../../queries/crowd_10s.sql

/* test
rows engagements_raw
  | event_id                             | match_id | user_id | session_id | engagement_type | engagement_subtype | device_type | related_game_event_id                | event_time   |
  | 00000000-0000-0000-0000-000000000001 | m1       | u1      | s-u1       | reaction        | cheer              | mobile      | 00000000-0000-0000-0000-000000000901 | 00:00:01     |
  | 00000000-0000-0000-0000-000000000002 | m1       | u1      | s-u1       | COMMENT         | NULL               | tv          | NULL                                 | 00:00:09.999 |
  | 00000000-0000-0000-0000-000000000003 | m1       | u2      | s-u2       | REACTION        | boo                | mobile      | NULL                                 | 00:00:10     |
silence 2 seconds
silence 1 second
expect crowd_10s
  | window_start | window_end | match_id | events | reactions | about_an_event |
  | 00:00:00     | 00:00:10   | m1       | 2      | 1         | 1              |
  | 00:00:10     | 00:00:20   | m1       | 1      | 1         | 0              |
end
*/
