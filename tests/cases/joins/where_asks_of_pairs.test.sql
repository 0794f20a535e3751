-- WHERE above a join sees both sides of each pair.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds'
WHERE act - goal > 5 AND g.game <> 'y';

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
  | 1    | y    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 6   | x    | 00:00:12 |
  | 7   | x    | 00:00:12 |
  | 8   | y    | 00:00:12 |
expect
  | goal | act |
  | 1    | 7   |
end
*/
