-- Keys may be expressions of either side.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
JOIN acts a ON upper(a.game) = g.game AND a.act % 10 = g.goal AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows goals
  | goal | game | ts       |
  | 1    | X    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 11  | x    | 00:00:12 |
  | 12  | x    | 00:00:12 |
  | 21  | X    | 00:00:12 |
expect
  | goal | act |
  | 1    | 11  |
  | 1    | 21  |
end
*/
