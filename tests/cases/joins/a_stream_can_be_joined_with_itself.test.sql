-- Of a stream joined with itself each row is on both sides.

CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT a.act AS one, b.act AS two FROM acts a
JOIN acts b ON b.game = a.game AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '10 seconds' AND b.act <> a.act;

/* test
rows acts
  | act | game | ts       |
  | 1   | x    | 00:00:10 |
  | 2   | x    | 00:00:15 |
  | 3   | x    | 00:00:21 |
  | 4   | y    | 00:00:15 |
expect
  | one | two |
  | 1   | 2   |
  | 2   | 3   |
end
*/
