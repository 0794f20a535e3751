-- Pairs of two streams are joined with static rows as they leave.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');
CREATE TABLE pages (page VARCHAR, title VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'pages.csv');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act, title FROM goals g
JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds'
LEFT JOIN pages p ON p.page = g.game;

/* test
rows pages
  | page | title |
  | x    | Final |
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
  | 2    | y    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
  | 8   | y    | 00:00:12 |
expect
  | goal | act | title |
  | 1    | 7   | Final |
  | 2    | 8   | NULL  |
end
*/
