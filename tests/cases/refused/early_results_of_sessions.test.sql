-- Results of sessions do not leave early: until a session closes its end is not known.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW a AS
SELECT window_start, window_end, page, count(*) AS c
FROM SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds') GROUP BY window_start, window_end, page
EMIT CHANGES;

CREATE MATERIALIZED VIEW b AS
SELECT window_start, window_end, page, count(*) AS c
FROM SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds') GROUP BY window_start, window_end, page
EMIT EVERY INTERVAL '1 second';

CREATE MATERIALIZED VIEW c WITH ('allowed-lateness' = '10 seconds') AS
SELECT window_start, window_end, page, count(*) AS c
FROM SESSION(clicks PARTITION BY page, ts, INTERVAL '5 seconds') GROUP BY window_start, window_end, page
EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS;

/* test
refused
  9:1: EMIT CHANGES is not available over SESSION: its results leave once, when a session closes and its end is known
  hint: leave the clause out…
refused
  14:1: EMIT EVERY is not available over SESSION: its results leave once, when a session closes and its end is known
  hint: leave the clause out…
refused
  19:1: EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS is not available over SESSION: its results leave once, when a session closes and its end is known
  hint: leave the clause out…
*/
