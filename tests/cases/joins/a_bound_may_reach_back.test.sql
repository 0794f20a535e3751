-- Partners may come before the row, where the bound says so.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts - INTERVAL '5 seconds' AND g.ts - INTERVAL '1 second';

/* test
rows acts
  | act | game | ts           |
  | 1   | x    | 00:00:04.999 |
  | 2   | x    | 00:00:05     |
  | 3   | x    | 00:00:09     |
  | 4   | x    | 00:00:10     |
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
expect
  | goal | act |
  | 1    | 2   |
  | 1    | 3   |
end
*/
