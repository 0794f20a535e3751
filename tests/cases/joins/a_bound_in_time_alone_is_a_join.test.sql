-- Without keys every row within the bound is a partner.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
JOIN acts a ON a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
  | 2    | NULL | 00:00:15 |
rows acts
  | act | game | ts       |
  | 7   | y    | 00:00:12 |
  | 8   | NULL | 00:00:18 |
expect
  | goal | act |
  | 1    | 7   |
  | 1    | 8   |
  | 2    | 8   |
end
*/
