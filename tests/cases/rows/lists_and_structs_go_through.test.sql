-- Lists and structs leave as they came, NULLs inside them too.

CREATE TABLE clicks (page VARCHAR, tags ARRAY<VARCHAR>, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT tags, named_struct('page', page, 'tags', tags) AS both
FROM clicks;

/* test
rows clicks
  | page | tags            | ts       |
  | a    | ["x", null, ""] | 00:00:01 |
  | NULL | []              | 00:00:02 |
  | b    | NULL            | 00:00:03 |
expect
  | tags            | both                                   |
  | ["x", null, ""] | {"page": "a", "tags": ["x", null, ""]} |
  | []              | {"page": null, "tags": []}             |
  | NULL            | {"page": "b", "tags": null}            |
end
*/
