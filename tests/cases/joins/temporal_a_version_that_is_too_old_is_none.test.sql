-- With 'state-ttl' a version that has had no newer one for longer is found no more, and one that is as old is.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE odds (game VARCHAR, home DOUBLE, ts TIMESTAMP(3), PRIMARY KEY (game) NOT ENFORCED, WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'odds');

CREATE MATERIALIZED VIEW v WITH ('state-ttl' = '10 seconds') AS
SELECT goal, home FROM goals g LEFT JOIN odds FOR SYSTEM_TIME AS OF g.ts AS o ON o.game = g.game;

/* test
rows odds
  | game | home | ts       |
  | x    | 1.5  | 00:00:05 |
rows goals
  | goal | game | ts           |
  | 1    | x    | 00:00:15     |
  | 2    | x    | 00:00:15.001 |
watermark odds 00:00:16
expect
  | goal | home |
  | 1    | 1.5  |
  | 2    | NULL |
rows odds
  | game | home | ts       |
  | x    | 2.5  | 00:00:20 |
rows goals
  | goal | game | ts       |
  | 3    | x    | 00:00:30 |
end
expect
  | goal | home |
  | 3    | 2.5  |
*/
