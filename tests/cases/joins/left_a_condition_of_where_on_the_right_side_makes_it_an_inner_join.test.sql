-- WHERE that is not true of NULL leaves rows alone out, as SQL has it.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
LEFT JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds'
WHERE act > 7;

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
  | 2    | y    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
  | 8   | x    | 00:00:13 |
expect
  | goal | act |
  | 1    | 8   |
watermark 00:01:00
end
*/
