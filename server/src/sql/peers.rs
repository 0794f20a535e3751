//! What people write who know Flink, RisingWave, Arroyo and others, where there is no such thing here: what to write instead.
//!
//! Words that mean what we have are read (`spelling`, `types`, `table_clauses`); these are the rest.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::dialect::is_word;

/// Where a topic is read from.
pub(super) const FROM_KAFKA: &str =
    "write WITH ('connector' = 'kafka', 'topic' = '…', 'brokers' = 'host:port') behind the columns";

/// For the first word of a statement.
pub(super) fn statement_hint(word: &str) -> Option<&'static str> {
    Some(match word.to_uppercase().as_str() {
        "SET" | "RESET" => {
            "options stand in WITH (…) of a table or view, settings of the server in touchline.toml; how long state is kept follows from the query"
        }
        "LATENESS" => {
            "write WATERMARK FOR ts AS ts - INTERVAL '1' HOUR in the CREATE TABLE, and 'allowed-lateness' = '…' in WITH (…) of a view"
        }
        "SUBSCRIBE" | "DECLARE" | "FETCH" => "the rows of a view are read by Flight SQL, as `touchline sql -c` does",
        "EXECUTE" | "BEGIN" => "each statement stands for itself, and all of a file's take effect together",
        _ => return None,
    })
}

/// For the word behind CREATE.
pub(super) fn create_hint(word: &str) -> Option<&'static str> {
    Some(match word.to_uppercase().as_str() {
        "STREAM" | "STREAMING" | "EXTERNAL" => {
            "write CREATE TABLE … WITH ('connector' = 'kafka', 'topic' = '…') for a topic, and CREATE MATERIALIZED VIEW … AS SELECT … for a query"
        }
        "SINK" => {
            "a CREATE MATERIALIZED VIEW is written to Parquet files, and to PostgreSQL where one is configured: it needs no sink"
        }
        "TEMPORARY" | "TEMP" => "leave it out: what the files say is there as long as they are",
        "CONNECTION" | "SECRET" => {
            "write 'brokers' = 'host:port' into WITH (…) of the table, or all else about Kafka under [kafka] in touchline.toml"
        }
        "DATABASE" | "SCHEMA" | "CATALOG" => "leave it out: names have one part",
        _ => return None,
    })
}

/// For a statement that could not be read: by words that stand in it.
pub(super) fn syntax_hint(tokens: &[TokenWithSpan]) -> Option<&'static str> {
    const SESSION: &str = "a session is a window in FROM, as in SESSION(t PARTITION BY k, ts, INTERVAL '5 minutes')";
    const HINTS: [(&[&str], &str); 4] = [
        (&["SESSION", "WITH", "GAP"], SESSION),
        (&["WINDOW", "SESSION"], SESSION),
        (
            &["WINDOW", "TUMBLING"],
            "write FROM TUMBLE(t, ts, INTERVAL '30 seconds') … GROUP BY window_start, window_end, …",
        ),
        (
            &["WINDOW", "HOPPING"],
            "write FROM HOP(t, ts, INTERVAL '10 seconds', INTERVAL '30 seconds') … GROUP BY window_start, window_end, …",
        ),
    ];
    let says = |window: &[TokenWithSpan], words: &[&str]| {
        window.iter().zip(words).all(|(token, word)| is_word(&token.token, word))
    };
    let found = HINTS.into_iter().find(|(words, _)| tokens.windows(words.len()).any(|window| says(window, words)));
    found
        .map(|(_, hint)| hint)
        .or_else(|| tokens.windows(2).any(is_short_length).then_some("write INTERVAL '5 seconds' for 5s"))
}

/// `5s`, as Proton writes a length.
fn is_short_length(window: &[TokenWithSpan]) -> bool {
    let [number, unit] = window else { return false };
    matches!(number.token, Token::Number(..))
        && ["s", "m", "h", "d", "ms"].iter().any(|name| is_word(&unit.token, name))
        && number.span.end == unit.span.start
}

/// For a function that does not exist.
pub(super) fn function_hint(name: &str) -> Option<&'static str> {
    Some(match name.to_lowercase().as_str() {
        "proctime" | "current_row_timestamp" | "localtimestamp" | "mz_now" => {
            "there is no processing time: an answer would depend on when its rows were read; use event time, or a column ts TIMESTAMP(3) METADATA FROM 'timestamp'"
        }
        "source_watermark" => "write WATERMARK FOR ts AS ts - INTERVAL '5' SECOND",
        "current_watermark" => {
            "late rows are left out and kept in touchline.late; the watermark itself is in touchline.watermarks"
        }
        "window" => {
            "write GROUP BY tumble(ts, INTERVAL '10 minutes') or hop(ts, INTERVAL '5 minutes', INTERVAL '10 minutes')"
        }
        "session_window" => "a session is a window in FROM, as in SESSION(t PARTITION BY k, ts, INTERVAL '5 minutes')",
        "tumble_rowtime" | "hop_rowtime" | "session_rowtime" => {
            "write FROM TUMBLE(t, ts, size), which adds window_time"
        }
        "listagg" | "group_concat" => "write string_agg(x, ',' ORDER BY ts)",
        "collect" | "collect_list" | "grouparray" => "write array_agg(x ORDER BY ts)",
        "format_timestamp" => "write to_char(ts, '%Y-%m-%d %H:%M:%S')",
        "unix_timestamp" => "write to_unixtime(ts)",
        "timestampdiff" | "datediff" | "date_diff" => {
            "write b - a, which is an interval, or to_unixtime(b) - to_unixtime(a) for seconds"
        }
        "timestampadd" | "date_add" | "dateadd" => "write ts + INTERVAL '1 hour'",
        "if" | "iff" => "write CASE WHEN condition THEN a ELSE b END",
        "latest_by_offset" | "argmax" | "arg_max" => "write last_value(x ORDER BY ts)",
        "earliest_by_offset" | "argmin" | "arg_min" => "write first_value(x ORDER BY ts)",
        _ => return None,
    })
}

/// For an option that is not known.
pub(super) fn option_hint(key: &str) -> Option<&'static str> {
    const FORMAT: &str = "write 'format' = 'json'";
    const BAD_ROW: &str = "write 'on-bad-row' = 'dead-letter' or 'fail'";
    Some(match key {
        "bootstrap_servers" | "bootstrap.servers" | "properties.bootstrap.server" => "write 'brokers' = 'host:port'",
        "kafka_topic" | "topics" => "write 'topic' = '…'",
        "value_format" | "value.format" | "data_format" | "data_encode" => FORMAT,
        "type" => "leave it out: a table is read where a query names it, and written where an INSERT does",
        "connectors" => "write 'connector' = 'kafka', 'topic' = '…', 'format' = 'json', each as an option of its own",
        "group.id" | "group_id" | "properties.group.id" | "source.group_id" => {
            "leave it out: offsets are kept in the checkpoints, without a group of consumers"
        }
        "offset_reset" | "auto.offset.reset" | "properties.auto.offset.reset" | "source.offset" => {
            "write 'scan.startup.mode' = 'earliest' or 'latest'"
        }
        "json.ignore-parse-errors" | "json.fail-on-missing-field" | "bad_data" => BAD_ROW,
        "json.path" | "json.root" | "json.array" | "json.row" | "json-path" | "json-rows" | "json_path"
        | "json_rows" => {
            "write 'json.rows' = '$.events[*]' for a list whose elements are rows, and 'json.path.<column>' = '$.field' for a column of the \
             record around it"
        }
        "json.timestamp-format.standard" | "json.timestamp_format" => {
            "leave it out for text; write 'timestamp-format' = 'epoch-ms' and its like for numbers"
        }
        "source.idle-timeout" | "scan.watermark.idle-timeout" | "idle_micros" => "write 'idle-timeout' = '30 seconds'",
        "lookup.cache"
        | "lookup.cache.ttl"
        | "lookup.join.cache.ttl"
        | "lookup.full-cache.periodic-reload.interval"
        | "lookup.full-cache.reload-strategy"
        | "lookup.partial-cache.expire-after-write"
        | "source.monitor-interval"
        | "streaming-source.monitor-interval"
        | "refresh_mode"
        | "refresh_interval_sec" => {
            "write 'refresh-interval' = '30 seconds' for a table of files, or of a database, that is looked up and read again"
        }
        "append_only" | "appendonly" => "leave it out: the rows of a table only come",
        "key.format" | "key.fields" | "key_format" => {
            "leave it out; the record's key is a column: k BYTEA METADATA FROM 'key'"
        }
        "emit_final" => "leave it out: a window's row leaves once, when the window closes",
        other if other.starts_with("properties.") => {
            "settings of the Kafka client stand under [kafka] in touchline.toml, for all tables"
        }
        _ => return None,
    })
}
