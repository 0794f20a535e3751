-- BETWEEN takes both of its ends, and nothing a millisecond beyond.

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
  | act | game | ts           |
  | 1   | x    | 00:00:09.999 |
  | 2   | x    | 00:00:10     |
  | 3   | x    | 00:00:20     |
  | 4   | x    | 00:00:20.001 |
expect
  | goal | act |
  | 1    | 2   |
  | 1    | 3   |
end
*/
