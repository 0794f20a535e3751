-- unnest gives a row an element, NULL elements too, and none of an empty list or of NULL.

CREATE TABLE clicks (page VARCHAR, tags ARRAY<VARCHAR>, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page, unnest(tags) AS tag
FROM clicks;

/* test
rows clicks
  | page | tags       | ts       |
  | a    | ["x", "y"] | 00:00:01 |
  | b    | [null]     | 00:00:02 |
  | c    | []         | 00:00:03 |
  | d    | NULL       | 00:00:04 |
expect
  | page | tag  |
  | a    | x    |
  | a    | y    |
  | b    | NULL |
end
*/
