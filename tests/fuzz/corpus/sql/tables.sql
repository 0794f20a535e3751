CREATE TABLE sales (
  sold_at BIGINT NOT NULL, price DECIMAL(8, 2) CHECK (price >= 0), pieces INT DEFAULT 1, tags VARCHAR[], at STRUCT<x DOUBLE, y DOUBLE>,
  more MAP<VARCHAR, BIGINT>, o BIGINT METADATA FROM 'offset' VIRTUAL, ts AS to_timestamp_ltz(sold_at, 0), amount AS price * pieces,
  WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
) WITH ('connector' = 'kafka', 'topic' = 'sales', 'aliases.price' = 'cost', 'on-bad-row' = 'fail', 'idle-timeout' = '10 s', 'http.ingest' = 'true');
CREATE TABLE names (k VARCHAR, name VARCHAR, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'filesystem', 'path' = 'no/names.csv', 'format' = 'csv');
CREATE MATERIALIZED VIEW big WITH ('postgres' = 'false', 'allowed-lateness' = '2 seconds') AS
SELECT s.pieces, s.amount, unnest(s.tags) AS tag, s.at['x'] AS x, s.more['k'] AS k, s.ts FROM sales s WHERE s.amount > 10;
