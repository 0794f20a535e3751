-- A condition over both sides keeps pairs apart; a left join has the row alone where it keeps all of them.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
LEFT JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds' AND a.act > g.goal * 10;

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
  | 5    | x    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
  | 20  | x    | 00:00:13 |
expect
  | goal | act |
  | 1    | 20  |
watermark acts 00:00:20.001
expect
  | goal | act  |
  | 5    | NULL |
end
*/
