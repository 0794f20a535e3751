-- event_alerts has late goals, red cards and penalties as first reported, and goals that are taken back.

-- uses ../../../schemas
-- uses ../../../queries/event_alerts.sql

/* test
rows teams
  | team_id | team_name |
  | t1      | Reds      |
rows match_events_raw
  | event_id                             | match_id | event_type | team   | minute | op     | revision | event_time |
  | 00000000-0000-0000-0000-000000000001 | m1       | GOAL       | Reds   | 88     | NULL   | NULL     | 00:00:01   |
  | 00000000-0000-0000-0000-000000000002 | m1       | goal       | Reds   | 84     | NULL   | 0        | 00:00:02   |
  | 00000000-0000-0000-0000-000000000001 | m1       | goal       | Reds   | 89     | upsert | 1        | 00:00:03   |
  | 00000000-0000-0000-0000-000000000003 | m1       | red_card   | Nobody | 10     | NULL   | NULL     | 00:00:04   |
expect event_alerts
  | alert_id                             | kind      | severity | minute | team_id | event_time |
  | 00000000-0000-0000-0000-000000000001 | late_goal | 2        | 88     | t1      | 00:00:01   |
  | 00000000-0000-0000-0000-000000000003 | red_card  | 3        | 10     | NULL    | 00:00:04   |
rows match_events_raw
  | event_id                             | match_id | event_type | team | minute | op      | revision | event_time |
  | 00000000-0000-0000-0000-000000000002 | m1       | goal       | Reds | 84     | retract | 1        | 00:00:09   |
expect event_alerts
  | alert_id                             | kind           | severity | minute | team_id | event_time |
  | 00000000-0000-0000-0000-000000000002 | goal_cancelled | 3        | 84     | t1      | 00:00:09   |
end
*/
