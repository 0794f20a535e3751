-- A right row without a partner leaves exactly when the left side's watermark has passed its own time.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
RIGHT JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:20 |
watermark goals 00:00:20
watermark goals 00:00:20.001
expect
  | goal | act |
  | NULL | 7   |
end
*/
