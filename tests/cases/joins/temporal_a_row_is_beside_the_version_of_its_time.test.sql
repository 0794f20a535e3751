-- A row is beside the last version that is not later than it, and leaves when no such version can come any more.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE odds (game VARCHAR, home DOUBLE, ts TIMESTAMP(3), PRIMARY KEY (game) NOT ENFORCED, WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'odds');

CREATE MATERIALIZED VIEW v AS
SELECT goal, home FROM goals g LEFT JOIN odds FOR SYSTEM_TIME AS OF g.ts AS o ON o.game = g.game;

/* test
rows odds
  | game | home | ts       |
  | x    | 1.5  | 00:00:05 |
  | y    | 3.5  | 00:00:05 |
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
  | 2    | y    | 00:00:04 |
  | 3    | z    | 00:00:04 |
watermark odds 00:00:05
expect
  | goal | home |
  | 2    | NULL |
  | 3    | NULL |
rows odds
  | game | home | ts       |
  | x    | 2.5  | 00:00:10 |
watermark 00:00:11
expect
  | goal | home |
  | 1    | 2.5  |
end
*/
