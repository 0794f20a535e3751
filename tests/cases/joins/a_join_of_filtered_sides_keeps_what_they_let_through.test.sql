-- Conditions on one side choose its rows before they wait.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM (SELECT * FROM goals WHERE goal > 1) g
LEFT JOIN (SELECT act, upper(game) AS game, ts FROM acts WHERE act <> 7) a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows goals
  | goal | game | ts       |
  | 1    | X    | 00:00:10 |
  | 2    | X    | 00:00:10 |
  | 3    | Y    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
  | 8   | x    | 00:00:12 |
expect
  | goal | act |
  | 2    | 8   |
watermark acts 00:00:21
expect
  | goal | act  |
  | 3    | NULL |
end
*/
