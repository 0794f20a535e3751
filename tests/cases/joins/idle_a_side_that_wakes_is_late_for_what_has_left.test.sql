-- What an idle side brings behind the watermark that went on without it is late.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
LEFT JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
  | 2    | x    | 00:00:30 |
idle acts
watermark goals 00:00:30
expect
  | goal | act  |
  | 1    | NULL |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
  | 8   | x    | 00:00:31 |
expect
  | goal | act |
  | 2    | 8   |
late
  | table | act | watermark |
  | acts  | 7   | 00:00:30  |
end
*/
