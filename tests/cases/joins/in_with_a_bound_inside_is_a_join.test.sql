-- IN over a stream, with the bound inside, lets a row go once that is in the set.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal FROM goals g
WHERE g.game IN (SELECT a.game FROM acts a WHERE a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds');

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
  | 2    | NULL | 00:00:10 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:21 |
  | 8   | x    | 00:00:12 |
  | 9   | x    | 00:00:13 |
expect
  | goal |
  | 1    |
end
*/
