-- With two keys both have to be equal, also where they are of two types.

CREATE TABLE goals (goal BIGINT, game VARCHAR, team INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, team BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
JOIN acts a ON a.team = g.team AND a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows goals
  | goal | game | team | ts       |
  | 1    | x    | 1    | 00:00:10 |
  | 2    | x    | 2    | 00:00:10 |
  | 3    | x    | NULL | 00:00:10 |
rows acts
  | act | game | team | ts       |
  | 7   | x    | 1    | 00:00:12 |
  | 8   | y    | 2    | 00:00:12 |
  | 9   | x    | NULL | 00:00:12 |
expect
  | goal | act |
  | 1    | 7   |
end
*/
