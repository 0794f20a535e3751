-- By > and < the ends are no partners.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
JOIN acts a ON a.game = g.game AND a.ts > g.ts AND a.ts < g.ts + INTERVAL '10 seconds';

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
rows acts
  | act | game | ts           |
  | 1   | x    | 00:00:10     |
  | 2   | x    | 00:00:10.001 |
  | 3   | x    | 00:00:19.999 |
  | 4   | x    | 00:00:20     |
expect
  | goal | act |
  | 1    | 2   |
  | 1    | 3   |
end
*/
