SELECT window_start, window_end, count(*) AS matches, sum(watch_ms) AS watch_ms
FROM upstream
GROUP BY window_start, window_end
