-- Rows out of order find their partners as long as they are not behind their watermark.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:30 |
  | 8   | x    | 00:00:12 |
rows goals
  | goal | game | ts       |
  | 2    | x    | 00:00:25 |
expect
  | goal | act |
  | 2    | 7   |
watermark acts 00:00:12
watermark goals 00:00:05
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:05 |
expect
  | goal | act |
  | 1    | 8   |
rows acts
  | act | game | ts       |
  | 9   | x    | 00:00:15 |
expect
  | goal | act |
  | 1    | 9   |
end
*/
