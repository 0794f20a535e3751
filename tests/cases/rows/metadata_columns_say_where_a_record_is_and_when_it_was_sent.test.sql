-- A metadata column has the partition, offset or timestamp of its record.

CREATE TABLE clicks (
  page VARCHAR, ts TIMESTAMP(3),
  place BIGINT METADATA FROM 'offset' VIRTUAL, part INT METADATA FROM 'partition' VIRTUAL,
  sent TIMESTAMP(3) METADATA FROM 'timestamp' VIRTUAL, "key" BYTEA METADATA VIRTUAL,
  WATERMARK FOR ts AS ts
) WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS SELECT page, part, place, sent FROM clicks;

/* test
rows clicks partition 2
  | page | sent     | ts       |
  | a    | 00:00:05 | 00:00:01 |
  | b    | NULL     | 00:00:02 |
expect
  | page | part | place | sent     |
  | a    | 2    | 0     | 00:00:05 |
  | b    | 2    | 1     | NULL     |
rows clicks partition 0
  | page | sent     | ts       |
  | c    | 00:00:06 | 00:00:03 |
expect
  | page | part | place | sent     |
  | c    | 0    | 0     | 00:00:06 |
end
*/
