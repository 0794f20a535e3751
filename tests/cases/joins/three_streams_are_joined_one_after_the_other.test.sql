-- A third stream is joined with the pairs of the first two, by a time of either.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');
CREATE TABLE shares (share BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'shares');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act, share FROM goals g
JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds'
LEFT JOIN shares s ON s.game = a.game AND s.ts BETWEEN a.ts AND a.ts + INTERVAL '5 seconds';

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
  | 8   | x    | 00:00:20 |
rows shares
  | share | game | ts       |
  | 5     | x    | 00:00:15 |
expect
  | goal | act | share |
  | 1    | 7   | 5     |
watermark shares 00:00:25
watermark shares 00:00:25.001
expect
  | goal | act | share |
  | 1    | 8   | NULL  |
end
*/
