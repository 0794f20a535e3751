-- concurrent_viewers counts a viewer once on a device for a minute after the last act, and not after leaving.

-- uses ../../../schemas
-- uses ../../../queries/concurrent_viewers.sql

/* test
rows engagements_raw
  | event_id                             | match_id | user_id | session_id | engagement_type | engagement_subtype | device_type | related_game_event_id | event_time |
  | 00000000-0000-0000-0000-000000000001 | m1       | u1      | s-u1       | session         | join               | mobile      | NULL                  | 00:00:01   |
  | 00000000-0000-0000-0000-000000000002 | m1       | u1      | s-u1       | click           | play               | mobile      | NULL                  | 00:00:02   |
  | 00000000-0000-0000-0000-000000000003 | m1       | u2      | s-u2       | session         | join               | TV          | NULL                  | 00:00:03   |
  | 00000000-0000-0000-0000-000000000004 | m1       | u2      | s-u2       | session         | leave              | TV          | NULL                  | 00:00:15   |
watermark engagements_raw 00:00:10
expect concurrent_viewers
  | window_end | match_id | device_type | viewers |
  | 00:00:10   | m1       | mobile      | 1       |
  | 00:00:10   | m1       | tv          | 1       |
watermark engagements_raw 00:00:20
expect concurrent_viewers
  | window_end | match_id | device_type | viewers |
  | 00:00:20   | m1       | mobile      | 1       |
watermark engagements_raw 00:00:59
expect concurrent_viewers
  | window_end | match_id | device_type | viewers |
  | 00:00:30   | m1       | mobile      | 1       |
  | 00:00:40   | m1       | mobile      | 1       |
  | 00:00:50   | m1       | mobile      | 1       |
watermark engagements_raw 00:01:00
expect concurrent_viewers
  | window_end | match_id | device_type | viewers |
  | 00:01:00   | m1       | mobile      | 1       |
end
*/
