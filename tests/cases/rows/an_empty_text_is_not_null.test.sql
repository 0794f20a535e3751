-- An empty text is a text, and NULL is none.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT n, page IS NULL AS missing, page = '' AS empty, coalesce(page, 'none') AS shown, length(page) AS len
FROM clicks;

/* test
rows clicks
  | page  | n | ts       |
  | ''    | 1 | 00:00:01 |
  | NULL  | 2 | 00:00:02 |
  | ' a ' | 3 | 00:00:03 |
expect
  | n | missing | empty | shown | len  |
  | 1 | false   | true  | ''    | 0    |
  | 2 | true    | NULL  | none  | NULL |
  | 3 | false   | false | ' a ' | 3    |
end
*/
