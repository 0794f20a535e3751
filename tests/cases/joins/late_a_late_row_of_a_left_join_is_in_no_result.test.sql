-- A late left row does not come alone either: it is in the ledger.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT goal, act FROM goals g
LEFT JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
watermark 00:00:20
rows goals
  | goal | game | ts       |
  | 1    | x    | 00:00:19 |
  | 2    | x    | 00:00:20 |
late
  | goal | missed_from | wholly |
  | 1    | NULL        | true   |
watermark 00:00:30.001
expect
  | goal | act  |
  | 2    | NULL |
end
*/
