-- Of a view without a primary key nobody knows of what its rows are versions.

CREATE TABLE acts (game VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'acts');

CREATE MATERIALIZED VIEW pace AS
SELECT window_end, game, count(*) AS n FROM TUMBLE(acts, ts, INTERVAL '10 seconds') GROUP BY window_end, game;

CREATE MATERIALIZED VIEW v AS
SELECT a.game, p.n FROM acts a LEFT JOIN pace FOR SYSTEM_TIME AS OF a.ts AS p ON p.game = a.game;

/* test
refused
  10:69: view "pace" has no primary key, so it is not known of what its rows are versions
  hint: write CREATE MATERIALIZED VIEW … WITH ('primary-key' = '…')…
*/
