-- Rows of the same window are partners, wherever in it they are; one of a window that has been joined is late.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM TUMBLE(goals, ts, INTERVAL '10 seconds') g
LEFT JOIN TUMBLE(acts, ts, INTERVAL '10 seconds') a ON a.window_start = g.window_start AND a.game = g.game;

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:11 |
  | 2    | x    | 00:00:22 |
watermark 00:00:20
expect
  | goal | act  |
  | 1    | NULL |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:19 |
  | 8   | x    | 00:00:21 |
expect
  | goal | act |
  | 2    | 8   |
late
  | act |
  | 7   |
end
*/
