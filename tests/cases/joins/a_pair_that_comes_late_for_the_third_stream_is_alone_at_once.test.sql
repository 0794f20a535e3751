-- A pair whose last chance with the third stream is past leaves alone as soon as it is one.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');
CREATE TABLE shares (share BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'shares');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act, share FROM goals g
JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds'
LEFT JOIN shares s ON s.game = g.game AND s.ts BETWEEN g.ts AND g.ts + INTERVAL '1 second';

/* test
watermark shares 00:00:30
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:10 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
expect
  | goal | act | share |
  | 1    | 7   | NULL  |
end
*/
