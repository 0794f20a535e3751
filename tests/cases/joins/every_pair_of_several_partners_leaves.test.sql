-- Two goals and two acts that are all partners are four pairs, and equal rows are rows of their own.

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
  | 1    | x    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
  | 8   | x    | 00:00:13 |
expect
  | goal | act |
  | 1    | 7   |
  | 1    | 8   |
  | 1    | 7   |
  | 1    | 8   |
end
*/
