CREATE MATERIALIZED VIEW nested AS
SELECT window_start, sum(n) AS n, max(s) AS most FROM (
  SELECT window_start, id % 3 AS k, count(*) AS n, sum(id) AS s
  FROM TUMBLE(e, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, id % 3)
GROUP BY window_start;
