-- A row without a time has no partner: an inner join leaves it out, a left join lets it go at once.

CREATE TABLE goals (goal BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'goals');
CREATE TABLE acts (act BIGINT, game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW pairs AS
SELECT goal, act FROM goals g
JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

CREATE MATERIALIZED VIEW all_goals AS
SELECT goal, act FROM goals g
LEFT JOIN acts a ON a.game = g.game AND a.ts BETWEEN g.ts AND g.ts + INTERVAL '10 seconds';

/* test
rows goals
  | goal | game | ts   |
  | 1    | x    | NULL |
expect all_goals
  | goal | act  |
  | 1    | NULL |
rows acts
  | act | game | ts       |
  | 7   | x    | NULL     |
  | 8   | x    | 00:00:12 |
end
*/
