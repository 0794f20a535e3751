-- EXISTS asks its whole condition of every candidate.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal FROM goals g
WHERE goal > 0 AND EXISTS (
  SELECT 1 FROM acts a WHERE a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds' AND a.act > g.goal
);

/* test
rows goals
  | goal | game | ts       |
  | 0    | x    | 00:00:10 |
  | 5    | x    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 4   | x    | 00:00:12 |
rows acts
  | act | game | ts       |
  | 6   | x    | 00:00:12 |
expect
  | goal |
  | 5    |
end
*/
