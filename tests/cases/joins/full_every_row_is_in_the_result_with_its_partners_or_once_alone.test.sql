-- A FULL JOIN loses no row of either side, and has none alone that has had a partner.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
FULL JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
  | 2    | y    | 00:00:10 |
  | 3    | NULL | 00:00:10 |
expect
  | goal | act  |
  | 3    | NULL |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
  | 8   | z    | 00:00:12 |
  | 9   | NULL | 00:00:12 |
expect
  | goal | act |
  | 1    | 7   |
  | NULL | 9   |
end
expect
  | goal | act  |
  | 2    | NULL |
  | NULL | 8    |
*/
