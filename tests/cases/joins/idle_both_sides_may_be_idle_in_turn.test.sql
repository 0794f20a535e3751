-- Whichever side is idle, rows of the other leave when its own watermark says so, and no watermark goes back.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
FULL JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
idle acts
watermark goals 00:00:30
expect
  | goal | act  |
  | 1    | NULL |
rows acts
  | act | game | ts       |
  | 7   | y    | 00:00:35 |
watermark acts 00:00:35
idle goals
watermark acts 00:00:36
expect
  | goal | act |
  | NULL | 7   |
rows goals
  | goal | game | ts       |
  | 2    | y    | 00:00:36 |
  | 3    | y    | 00:00:35 |
late
  | goal | watermark |
  | 3    | 00:00:36  |
rows acts
  | act | game | ts       |
  | 8   | y    | 00:00:40 |
expect
  | goal | act |
  | 2    | 8   |
end
*/
