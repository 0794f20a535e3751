-- win_probability has the last score of two minutes beside the most cards that either side had in them, and no match
-- without a score.

-- uses ../../../schemas
-- uses ../../../queries/win_probability.sql

/* test
day 2026-01-10
rows live_matches
  | match_id | home_team | away_team | home_score | away_score | status   | minute | added_time | event_time |
  | m1       | Reds      | Blues     | 1          | 0          | LIVE     | 90     | 2          | 15:00:10   |
  | m1       | Reds      | Blues     | 2          | 0          | FINISHED | 90     | 4          | 15:00:40   |
  | m2       | Whites    | Greens    | 0          | 2          | FINISHED | 90     | NULL       | 15:00:20   |
rows team_live_stats
  | match_id | team_id | side | red_cards | event_time |
  | m1       | t1      | home | 1         | 15:00:30   |
  | m1       | t2      | away | NULL      | 15:00:30   |
  | m3       | t5      | home | 1         | 15:00:30   |
watermark live_matches 15:01:00
watermark team_live_stats 15:01:00
expect win_probability
  | window_start | window_end | match_id | minute | home_score | away_score | home_reds | away_reds | home | draw | away |
  | 14:59:00     | 15:01:00   | m1       | 94     | 2          | 0          | 1         | 0         | 1    | 0    | 0    |
  | 14:59:00     | 15:01:00   | m2       | 90     | 0          | 2          | 0         | 0         | 0    | 0    | 1    |
rows team_live_stats
  | match_id | team_id | side | red_cards | event_time |
  | m1       | t2      | away | 1         | 15:01:10   |
end
expect win_probability
  | window_start | window_end | match_id | minute | home_score | away_score | home_reds | away_reds | home | draw | away |
  | 15:00:00     | 15:02:00   | m1       | 94     | 2          | 0          | 1         | 1         | 1    | 0    | 0    |
  | 15:00:00     | 15:02:00   | m2       | 90     | 0          | 2          | 0         | 0         | 0    | 0    | 1    |
*/
