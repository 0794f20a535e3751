-- With an allowed lateness of four seconds rows behind the watermark find partners, and rows alone wait so much
-- longer.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v WITH ('allowed-lateness' = '4 seconds') AS
SELECT goal, act FROM goals g
LEFT JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
watermark 00:00:20
rows goals
  | goal | game | ts           |
  | 1    | x    | 00:00:16     |
  | 2    | y    | 00:00:16     |
  | 3    | x    | 00:00:15.999 |
late
  | goal | watermark |
  | 3    | 00:00:20  |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:16 |
expect
  | goal | act |
  | 1    | 7   |
watermark acts 00:00:30
watermark acts 00:00:30.001
expect
  | goal | act  |
  | 2    | NULL |
end
*/
