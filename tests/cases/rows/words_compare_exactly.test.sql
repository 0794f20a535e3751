-- Texts are equal where every letter is.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT n
FROM clicks
WHERE page = 'goal';

/* test
rows clicks
  | page    | n | ts       |
  | goal    | 1 | 00:00:01 |
  | GOAL    | 2 | 00:00:02 |
  | 'goal ' | 3 | 00:00:03 |
expect
  | n |
  | 1 |
end
*/
