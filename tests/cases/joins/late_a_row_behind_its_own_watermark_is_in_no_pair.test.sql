-- A row of either side that is behind the watermark of its side is late, with its place, also where its partner still
-- waits.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 7   | y    | 00:00:12 |
watermark goals 00:00:12
watermark acts 00:00:13
rows acts
  | act | game | ts           |
  | 8   | x    | 00:00:12.999 |
  | 9   | x    | 00:00:13     |
expect
  | goal | act |
  | 1    | 9   |
late
  | table | partition | offset | event_time   | watermark | act |
  | acts  | 0         | 1      | 00:00:12.999 | 00:00:13  | 8   |
rows goals
  | goal | game | ts           |
  | 2    | y    | 00:00:11.999 |
  | 3    | y    | 00:00:12     |
expect
  | goal | act |
  | 3    | 7   |
late
  | table | offset | watermark | goal |
  | goals | 1      | 00:00:12  | 2    |
end
*/
