-- A field is NULL where its struct is, at any depth.

CREATE TABLE clicks (at STRUCT<x DOUBLE, area STRUCT<name VARCHAR>>, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT at['x'] AS x, at['area']['name'] AS name
FROM clicks;

/* test
rows clicks
  | at                                  | ts       |
  | {"x": 1.5, "area": {"name": "box"}} | 00:00:01 |
  | {"x": null, "area": null}           | 00:00:02 |
  | {}                                  | 00:00:03 |
  | NULL                                | 00:00:04 |
expect
  | x    | name |
  | 1.5  | box  |
  | NULL | NULL |
  | NULL | NULL |
  | NULL | NULL |
end
*/
