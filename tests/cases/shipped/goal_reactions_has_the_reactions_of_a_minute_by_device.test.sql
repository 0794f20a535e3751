-- goal_reactions counts each reaction of the minute after a goal once, by device, and leaves when that minute is
-- over.

-- uses ../../../schemas
-- uses ../../../queries/goal_reactions.sql

/* test
rows teams
  | team_id | team_name |
  | t1      | Reds      |
rows match_events_raw
  | event_id                             | match_id | event_type | team | event_time |
  | 00000000-0000-0000-0000-000000000901 | m1       | goal       | Reds | 00:00:30   |
rows engagements_raw
  | event_id                             | match_id | user_id | session_id | engagement_type | engagement_subtype | device_type | related_game_event_id | event_time   |
  | 00000000-0000-0000-0000-000000000001 | m1       | u1      | s-u1       | reaction        | cheer              | mobile      | NULL                  | 00:00:30     |
  | 00000000-0000-0000-0000-000000000002 | m1       | u1      | s-u1       | reaction        | cheer              | mobile      | NULL                  | 00:01:29.999 |
  | 00000000-0000-0000-0000-000000000003 | m1       | u2      | s-u2       | reaction        | boo                | tv          | NULL                  | 00:01:30     |
  | 00000000-0000-0000-0000-000000000004 | m1       | u3      | s-u3       | comment         | NULL               | tv          | NULL                  | 00:00:40     |
  | 00000000-0000-0000-0000-000000000005 | m1       | u4      | s-u4       | reaction        | cheer              | radio       | NULL                  | 00:00:31     |
  | 00000000-0000-0000-0000-000000000006 | m1       | u5      | s-u5       | reaction        | cheer              | mobile      | NULL                  | 00:00:29     |
watermark match_events_raw 00:02:00
watermark engagements_raw 00:01:59.999
watermark engagements_raw 00:02:00
expect goal_reactions
  | match_id | event_id                             | team_id | event_time | device_type | reactions | users | first_at |
  | m1       | 00000000-0000-0000-0000-000000000901 | t1      | 00:00:30   | mobile      | 2         | 1     | 00:00:30 |
  | m1       | 00000000-0000-0000-0000-000000000901 | t1      | 00:00:30   | unknown     | 1         | 1     | 00:00:31 |
end
*/
