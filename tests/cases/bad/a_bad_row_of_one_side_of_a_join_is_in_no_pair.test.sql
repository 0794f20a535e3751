-- A row of which a join's key cannot be computed is left out with its origin.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
JOIN acts a ON 10 / a.act = g.goal AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
not in batch: a condition of a join that cannot be computed ends it
rows goals
  | goal | game | ts       |
  | 2    | x    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 5   | x    | 00:00:12 |
  | 0   | x    | 00:00:12 |
expect
  | goal | act |
  | 2    | 5   |
bad
  | table | offset | act |
  | acts  | 1      | 0   |
end
*/
