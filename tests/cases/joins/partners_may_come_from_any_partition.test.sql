-- Keys that lie in several partitions find one another.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows goals partition 0
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
rows goals partition 1
  | goal | game | ts       |
  | 2    | x    | 00:00:11 |
rows acts partition 2
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
expect
  | goal | act |
  | 1    | 7   |
  | 2    | 7   |
rows acts partition 0
  | act | game | ts         |
  | 8   | x    | 00:00:10.5 |
expect
  | goal | act |
  | 1    | 8   |
end
*/
