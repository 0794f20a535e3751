CREATE MATERIALIZED VIEW nested AS
SELECT window_start, sum(n) AS n, max(s) AS most FROM TUMBLE((
  SELECT window_time AS t, id % 3 AS k, count(*) AS n, sum(id) AS s
  FROM TUMBLE(e, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, window_time, id % 3
), t, INTERVAL '20 seconds') GROUP BY window_start, window_end;
