-- A RIGHT JOIN has each right row with its partners, or once alone.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
RIGHT JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
  | 8   | y    | 00:00:12 |
  | 9   | NULL | 00:00:12 |
expect
  | goal | act |
  | 1    | 7   |
  | NULL | 9   |
watermark goals 00:00:13
expect
  | goal | act |
  | NULL | 8   |
watermark acts 00:00:30
end
*/
