-- Rows of one instant are joined by the equality of their times.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
JOIN acts a ON a.game = g.game AND a.ts = g.ts;

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
rows acts
  | act | game | ts           |
  | 1   | x    | 00:00:10     |
  | 2   | x    | 00:00:10.001 |
expect
  | goal | act |
  | 1    | 1   |
end
*/
