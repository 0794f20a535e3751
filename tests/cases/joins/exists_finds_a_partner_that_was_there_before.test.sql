-- EXISTS lets a row go at once that comes after its partners, once.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal FROM goals g
WHERE EXISTS (
  SELECT 1 FROM acts a WHERE a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds'
);

/* test
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
  | 8   | x    | 00:00:13 |
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
expect
  | goal |
  | 1    |
end
*/
