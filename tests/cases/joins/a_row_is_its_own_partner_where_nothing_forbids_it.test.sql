-- In a self-join whose bound holds for a row and itself, it is its own partner.

CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW v AS
SELECT a.act AS one, b.act AS two FROM acts a
JOIN acts b ON b.game = a.game AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '10 seconds';

/* test
rows acts
  | act | game | ts       |
  | 1   | x    | 00:00:10 |
expect
  | one | two |
  | 1   | 1   |
rows acts
  | act | game | ts       |
  | 2   | x    | 00:00:12 |
expect
  | one | two |
  | 2   | 2   |
  | 1   | 2   |
end
*/
