-- A window over a LEFT JOIN has the rows alone of its time before it closes.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT window_end, count(*) AS goals, count(act) AS pairs
FROM TUMBLE((SELECT g.ts, act FROM goals g LEFT JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds'), ts, INTERVAL '10 seconds')
GROUP BY window_end;

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:08 |
  | 2    | y    | 00:00:09 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
watermark 00:00:20
expect
  | window_end | goals | pairs |
  | 00:00:10   | 2     | 1     |
end
*/
