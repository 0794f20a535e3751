-- A side that is a union of two streams has the rows of both, and waits for the slower.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');
CREATE TABLE shares (share BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'shares');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
LEFT JOIN (SELECT act, game, ts FROM acts UNION ALL SELECT share, game, ts FROM shares) a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
  | 2    | y    | 00:00:10 |
rows shares
  | share | game | ts       |
  | 5     | x    | 00:00:12 |
expect
  | goal | act |
  | 1    | 5   |
watermark acts 00:01:00
watermark shares 00:00:20.001
expect
  | goal | act  |
  | 2    | NULL |
end
*/
