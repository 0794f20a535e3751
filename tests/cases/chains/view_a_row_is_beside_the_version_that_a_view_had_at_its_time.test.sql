-- A row of a view with a primary key is a version from its time on: a goal is beside the last one that had come by then.

CREATE TABLE acts (game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');
CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');

CREATE MATERIALIZED VIEW pace WITH ('primary-key' = 'game') AS
SELECT window_end, game, count(*) AS acts
FROM TUMBLE(acts, ts, INTERVAL '10 seconds')
GROUP BY window_end, game;

CREATE MATERIALIZED VIEW goals_at_pace AS
SELECT goal, acts FROM goals g LEFT JOIN pace FOR SYSTEM_TIME AS OF g.ts AS p ON p.game = g.game;

/* test
rows acts
  | game | ts       |
  | x    | 00:00:01 |
  | x    | 00:00:02 |
  | x    | 00:00:12 |
rows goals
  | goal | game | ts           |
  | 1    | x    | 00:00:09.999 |
  | 2    | x    | 00:00:10     |
  | 3    | x    | 00:00:25     |
watermark acts 00:00:20
expect pace
  | window_end | game | acts |
  | 00:00:10   | x    | 2    |
  | 00:00:20   | x    | 1    |
expect goals_at_pace
  | goal | acts |
  | 1    | NULL |
  | 2    | 2    |
end
expect goals_at_pace
  | goal | acts |
  | 3    | 1    |
*/
