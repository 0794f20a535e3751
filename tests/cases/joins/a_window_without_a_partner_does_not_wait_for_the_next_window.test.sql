-- Of windows joined by a LEFT JOIN one without a partner leaves when the other side has closed the same window.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
WITH g AS (
  SELECT window_start, window_end, game, count(*) AS goals FROM TUMBLE(goals, ts, INTERVAL '10 seconds')
  GROUP BY window_start, window_end, game
), a AS (
  SELECT window_start, window_end, game, count(*) AS acts FROM TUMBLE(acts, ts, INTERVAL '10 seconds')
  GROUP BY window_start, window_end, game
)
SELECT g.window_end, g.game, goals, acts FROM g
LEFT JOIN a ON a.window_start = g.window_start AND a.window_end = g.window_end AND a.game = g.game;

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:01 |
  | 3    | y    | 00:00:03 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:09 |
watermark goals 00:00:30
watermark acts 00:00:10
expect
  | window_end | game | goals | acts |
  | 00:00:10   | x    | 1     | 1    |
  | 00:00:10   | y    | 1     | NULL |
end
*/
