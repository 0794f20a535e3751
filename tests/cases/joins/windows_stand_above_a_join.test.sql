-- A window over the pairs of a join closes when no pair of its time can come any more.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT window_end, count(*) AS pairs
FROM TUMBLE((SELECT g.ts FROM goals g JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds'), ts, INTERVAL '10 seconds')
GROUP BY window_end;

/* test
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:09 |
rows acts
  | act | game | ts       |
  | 7   | x    | 00:00:12 |
watermark goals 00:00:10
rows acts
  | act | game | ts       |
  | 8   | x    | 00:00:19 |
watermark acts 00:00:19.999
watermark acts 00:00:20
expect
  | window_end | pairs |
  | 00:00:10   | 2     |
end
*/
