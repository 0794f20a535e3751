-- BETWEEN, two comparisons either way round, a difference, and WHERE say the same of an inner join.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW by_between AS
SELECT goal, act FROM goals g
JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

CREATE MATERIALIZED VIEW by_comparisons AS
SELECT goal, act FROM goals g
JOIN acts a ON a.game = g.game AND g.ts <= a.ts AND a.ts - INTERVAL '10 seconds' <= g.ts;

CREATE MATERIALIZED VIEW by_difference AS
SELECT goal, act FROM goals g
JOIN acts a ON a.ts - g.ts BETWEEN INTERVAL '0 seconds' AND INTERVAL '10 seconds' AND g.game = a.game;

CREATE MATERIALIZED VIEW by_where AS
SELECT goal, act FROM goals g
JOIN acts a ON a.game = g.game
WHERE a.ts >= g.ts AND a.ts <= g.ts + INTERVAL '10 seconds';

CREATE MATERIALIZED VIEW by_comma AS
SELECT goal, act FROM goals g, acts a
WHERE a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 1   | x    | 00:00:09 |
  | 2   | x    | 00:00:10 |
  | 3   | x    | 00:00:20 |
  | 4   | x    | 00:00:21 |
  | 5   | y    | 00:00:15 |
expect by_between
  | goal | act |
  | 1    | 2   |
  | 1    | 3   |
expect by_comparisons
  | goal | act |
  | 1    | 2   |
  | 1    | 3   |
expect by_difference
  | goal | act |
  | 1    | 2   |
  | 1    | 3   |
expect by_where
  | goal | act |
  | 1    | 2   |
  | 1    | 3   |
expect by_comma
  | goal | act |
  | 1    | 2   |
  | 1    | 3   |
end
*/
