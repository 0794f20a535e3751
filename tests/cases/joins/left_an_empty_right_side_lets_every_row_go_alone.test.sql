-- Where the right side never has a row, all left rows leave alone when it ends.

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
  | 2    | NULL | 00:00:11 |
expect
  | goal | act  |
  | 2    | NULL |
end acts
expect
  | goal | act  |
  | 1    | NULL |
rows goals
  | goal | game | ts       |
  | 3    | y    | 00:00:30 |
expect
  | goal | act  |
  | 3    | NULL |
end
*/
