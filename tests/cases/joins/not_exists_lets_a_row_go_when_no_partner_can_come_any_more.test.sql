-- NOT EXISTS lets a row go exactly when the watermark has passed its last chance, and never one that has a partner.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal FROM goals g
WHERE NOT EXISTS (
  SELECT 1 FROM acts a WHERE a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds'
);

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
  | 2    | y    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
watermark acts 00:00:20
watermark acts 00:00:20.001
expect
  | goal |
  | 2    |
end
*/
