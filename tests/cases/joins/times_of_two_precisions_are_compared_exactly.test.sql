-- A second and a nanosecond are compared as the instants that they are.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(9), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(0), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows goals
  | goal | game | ts                 |
  | 1    | x    | 00:00:10.000000001 |
  | 2    | x    | 00:00:09.999999999 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:10 |
  | 8   | x    | 00:00:20 |
expect
  | goal | act |
  | 1    | 8   |
  | 2    | 7   |
end
*/
