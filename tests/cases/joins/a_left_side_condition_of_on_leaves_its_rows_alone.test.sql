-- A condition of ON over the left side alone makes its rows come alone, and leaves none out.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
LEFT JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds' AND g.goal > 1;

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
  | 2    | x    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
expect
  | goal | act |
  | 2    | 7   |
watermark acts 00:00:21
expect
  | goal | act  |
  | 1    | NULL |
end
*/
