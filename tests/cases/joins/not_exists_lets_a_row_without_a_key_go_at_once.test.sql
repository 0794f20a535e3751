-- NOT EXISTS lets a row go at once whose key or time is NULL, for it has no partner.

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
  | 1    | NULL | 00:00:10 |
  | 2    | x    | NULL     |
  | 3    | x    | 00:00:10 |
expect
  | goal |
  | 1    |
  | 2    |
end
expect
  | goal |
  | 3    |
*/
