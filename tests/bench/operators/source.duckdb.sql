CREATE VIEW a AS
SELECT match_id, engagement_type, watch_ms, event_time
FROM read_json('${A}', format = 'newline_delimited', columns = {
  match_id: 'VARCHAR', engagement_type: 'VARCHAR', watch_ms: 'BIGINT', event_time: 'BIGINT'});
CREATE VIEW b AS
SELECT match_id, engagement_type, watch_ms, event_time
FROM read_json('${B}', format = 'newline_delimited', columns = {
  match_id: 'VARCHAR', engagement_type: 'VARCHAR', watch_ms: 'BIGINT', event_time: 'BIGINT'});
