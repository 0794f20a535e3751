CREATE MATERIALIZED VIEW hopped AS
SELECT window_start, count(*) AS n, count(DISTINCT id % 3) AS d, avg(id) AS a
FROM HOP(e, ts, INTERVAL '10 seconds', INTERVAL '30 seconds') GROUP BY window_start, window_end;
