-- scoreboard has the newest record of each match and ten seconds, with its NULLs.

-- uses ../../../schemas
-- uses ../../../queries/scoreboard.sql

/* test
rows live_matches
  | match_id | home_team | away_team | home_score | away_score | status    | minute | added_time | event_time |
  | m1       | Reds      | Blues     | 1          | 0          | LIVE      | 45     | 2          | 00:00:05   |
  | m1       | Reds      | Blues     | 1          | 1          | HALF_TIME | 45     | NULL       | 00:00:09   |
  | m1       | Reds      | Blues     | 0          | 0          | LIVE      | 44     | 1          | 00:00:01   |
  | m2       | Whites    | Greens    | NULL       | NULL       | SCHEDULED | NULL   | NULL       | 00:00:02   |
watermark live_matches 00:00:10
expect scoreboard
  | window_start | match_id | home_team | home_score | away_score | status    | minute | added_time | as_of    |
  | 00:00:00     | m1       | Reds      | 1          | 1          | HALF_TIME | 45     | NULL       | 00:00:09 |
  | 00:00:00     | m2       | Whites    | NULL       | NULL       | SCHEDULED | NULL   | NULL       | 00:00:02 |
rows live_matches
  | match_id | home_team | away_team | status | event_time |
  | m1       | Reds      | Blues     | OVER   | 00:00:12   |
bad scoreboard
  | table        | offset | column |
  | live_matches | 4      | status |
end
*/
