-- A join under the name of a plain view works as in its place.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');
CREATE VIEW answered AS
SELECT goal, act, g.ts FROM goals g JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

CREATE MATERIALIZED VIEW v AS SELECT goal, count(*) AS c FROM TUMBLE(answered, ts, INTERVAL '10 seconds') GROUP BY window_start, goal;

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:01 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:02 |
  | 8   | x    | 00:00:11 |
end
expect
  | goal | c |
  | 1    | 2 |
*/
