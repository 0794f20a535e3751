-- A pair of which a join's condition cannot be asked is a dead letter without an origin, and both rows stay what they
-- are.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
LEFT JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds' AND 10 / (a.act - 7) > g.goal;

/* test
not in batch: a condition of a join that cannot be computed ends it
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
  | 8   | x    | 00:00:13 |
expect
  | goal | act |
  | 1    | 8   |
bad
  | table | offset | act | goal |
  | NULL  | NULL   | 7   | 1    |
end
*/
