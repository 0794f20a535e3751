-- A row waits exactly as long as the other side's watermark lets a partner come.

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
watermark acts 00:00:20
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:20 |
expect
  | goal | act |
  | 1    | 7   |
watermark acts 00:00:20.001
rows acts
  | act | game | ts           |
  | 8   | x    | 00:00:20.001 |
end
*/
