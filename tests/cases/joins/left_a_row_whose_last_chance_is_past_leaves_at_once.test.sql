-- A row that comes when no partner can come any more leaves at once, also beside a watermark of its own far behind.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
LEFT JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
watermark acts 00:01:00
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
  | 2    | x    | 00:00:50 |
expect
  | goal | act  |
  | 1    | NULL |
watermark acts 00:01:00.001
expect
  | goal | act  |
  | 2    | NULL |
end
*/
