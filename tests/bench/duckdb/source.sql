CREATE VIEW engagements AS
SELECT match_id, engagement_type, watch_ms, event_time
FROM read_json('${DATA}', format = 'newline_delimited', columns = {
  match_id: 'VARCHAR', engagement_type: 'VARCHAR', watch_ms: 'BIGINT', event_time: 'BIGINT'});
