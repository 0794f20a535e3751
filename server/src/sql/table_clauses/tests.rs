use arrow::datatypes::{DataType, TimeUnit};

use crate::catalog::{ColumnKind, Format, MetadataKey, Statement, TableDef};
use crate::sql::{parse_file, report};

fn table(text: &str) -> TableDef {
    let statements = parse_file("t.sql", text).unwrap_or_else(|errors| panic!("{text}\n{}", report(&errors)));
    match statements.into_iter().next() {
        Some(Statement::CreateTable(table)) => table,
        other => panic!("not a table: {other:?}"),
    }
}

fn mistakes(text: &str) -> String {
    report(&parse_file("t.sql", text).expect_err(text))
}

#[test]
fn a_source_of_risingwave_is_a_table() {
    let source = table(
        "CREATE SOURCE s1 (product VARCHAR, order_time TIMESTAMP,
           WATERMARK FOR order_time AS order_time - INTERVAL '5' SECOND)
         INCLUDE header AS h INCLUDE key AS k INCLUDE partition AS p INCLUDE offset AS o INCLUDE timestamp AS at
         WITH (connector='kafka', topic='t', properties.bootstrap.servers='b:9092') FORMAT PLAIN ENCODE JSON",
    );
    let metadata: Vec<(&str, MetadataKey)> = source
        .columns
        .iter()
        .filter_map(|column| match column.kind {
            ColumnKind::Metadata(key) => Some((column.name.as_str(), key)),
            _ => None,
        })
        .collect();
    assert_eq!(
        metadata,
        [
            ("h", MetadataKey::Headers),
            ("k", MetadataKey::Key),
            ("p", MetadataKey::Partition),
            ("o", MetadataKey::Offset),
            ("at", MetadataKey::Timestamp)
        ]
    );
    assert_eq!((source.name.as_str(), source.format, source.columns.len()), ("s1", Format::Json, 7));
}

#[test]
fn clauses_stand_in_any_order_and_say_what_options_say() {
    let text = "CREATE TABLE t (a INT) COMMENT 'what it is' APPEND ONLY FORMAT PLAIN ENCODE CSV WITH ('connector' = 'filesystem', 'path' = 'x')";
    assert_eq!(table(text).format, Format::Csv);
    let found = mistakes(
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json') FORMAT PLAIN ENCODE JSON",
    );
    assert_eq!(found, "t.sql:1:94: option \"format\" is given twice\n  detail: first at t.sql:1:68");
}

#[test]
fn metadata_has_the_types_of_flink_and_the_names_of_arroyo() {
    let table = table(
        "CREATE TABLE t (event_time TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL, `partition` BIGINT METADATA VIRTUAL,
           offset BIGINT METADATA FROM 'offset_id', WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND)
         WITH ('connector' = 'kafka', 'topic' = 't')",
    );
    let types: Vec<&DataType> = table.columns.iter().map(|column| &column.data_type).collect();
    let instant = DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    assert_eq!(types, [&instant, &DataType::Int64, &DataType::Int64]);
    assert_eq!(table.columns[2].kind, ColumnKind::Metadata(MetadataKey::Offset));
}

#[test]
fn what_there_is_not_says_what_to_write() {
    let with = "WITH ('connector' = 'kafka', 'topic' = 't')";
    let mut wrong = String::new();
    for (text, want) in [
        (
            format!("CREATE TABLE t (a INT) PARTITIONED BY (a) {with}"),
            "t.sql:1:24: a table is not partitioned by its statement\n  hint: leave it out",
        ),
        (
            format!("CREATE TABLE t (a INT) INCLUDE payload AS p {with}"),
            "t.sql:1:32: INCLUDE payload is not available\n  hint: there are key,",
        ),
        (
            format!("CREATE TABLE t (a INT) INCLUDE offset {with}"),
            "t.sql:1:32: a column of metadata has a name here\n  hint: write INCLUDE offset AS kafka_offset",
        ),
        (
            format!("CREATE TABLE t (a INT) {with} FORMAT DEBEZIUM ENCODE JSON"),
            "t.sql:1:75: FORMAT DEBEZIUM is not available\n  hint: write FORMAT PLAIN ENCODE JSON",
        ),
        (
            format!("CREATE TABLE t (a INT) {with} FORMAT PLAIN ENCODE JSON (x = 1)"),
            "t.sql:1:93: an encoding has no options",
        ),
        (format!("CREATE TABLE t (a INT) {with} {with}"), "t.sql:1:68: WITH (…) is given twice"),
        (
            "CREATE TABLE s2 AS SELECT id, max(value) FROM test GROUP BY id EMIT FINAL".to_owned(),
            "t.sql:1:17: CREATE TABLE … AS is not available\n  hint: write CREATE MATERIALIZED VIEW … AS SELECT …",
        ),
        (
            "CREATE TABLE t (a INT) LIKE u".to_owned(),
            "t.sql:1:24: CREATE TABLE … LIKE is not available\n  hint: write the columns out",
        ),
        (
            "CREATE SOURCE trades (symbol VARCHAR) FROM KAFKA (topic='t')".to_owned(),
            "t.sql:1:39: CREATE TABLE … FROM is not available\n  hint: write WITH ('connector' = 'kafka'",
        ),
        (
            "CREATE SOURCE k FROM KAFKA CONNECTION c (TOPIC 't')".to_owned(),
            "t.sql:1:17: CREATE TABLE … FROM is not available\n  hint: write WITH ('connector' = 'kafka'",
        ),
        (
            format!("CREATE TABLE purchase (ts TIMESTAMP NOT NULL LATENESS INTERVAL 1 HOURS, amount BIGINT) {with}"),
            "t.sql:1:46: a column has no lateness\n  hint: write WATERMARK FOR ts AS ts - INTERVAL '1' HOUR",
        ),
        (
            format!("CREATE TABLE test (id BIGINT KEY, value BIGINT) {with}"),
            "t.sql:1:30: a column is decoded from the record's value\n  hint: leave KEY out",
        ),
        (
            "CREATE STREAM test (id BIGINT) WITH (kafka_topic='t', value_format='JSON')".to_owned(),
            "t.sql:1:8: cannot create STREAM\n  hint: write CREATE TABLE … WITH ('connector' = 'kafka', 'topic' = '…') for a topic",
        ),
        (
            "CREATE STREAMING TABLE orders AS SELECT * FROM STREAM orders_source".to_owned(),
            "t.sql:1:8: cannot create STREAMING\n  hint: write CREATE TABLE",
        ),
        (
            "CREATE EXTERNAL STREAM e (raw string) SETTINGS type='kafka'".to_owned(),
            "t.sql:1:8: cannot create EXTERNAL\n  hint: write CREATE TABLE",
        ),
        ("CREATE TEMPORARY TABLE t (a INT)".to_owned(), "t.sql:1:8: cannot create TEMPORARY\n  hint: leave it out"),
        (
            "SET updating_ttl = INTERVAL '5' SECOND".to_owned(),
            "t.sql:1:1: expected a statement, found `SET`\n  hint: options stand in WITH (…)",
        ),
        (
            "LATENESS v.col1 INTERVAL 1 HOUR".to_owned(),
            "t.sql:1:1: expected a statement, found `LATENESS`\n  hint: write WATERMARK FOR",
        ),
        ("SUBSCRIBE v".to_owned(), "t.sql:1:1: expected a statement, found `SUBSCRIBE`\n  hint: the rows of a view"),
        (
            "EXECUTE UNIT TEST t1 FOR v".to_owned(),
            "t.sql:1:1: expected a statement, found `EXECUTE`\n  hint: each statement stands for itself",
        ),
    ] {
        let found = mistakes(&text);
        if !found.starts_with(want) {
            wrong.push_str(&format!("{text}\n--- want\n{want}\n--- found\n{found}\n\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn options_of_peers_are_refused_with_ours() {
    for (option, want) in [
        ("bootstrap_servers = 'b:9092'", "write 'brokers' = 'host:port'"),
        ("properties.bootstrap.server = 'b:9092'", "write 'brokers' = 'host:port'"),
        ("type = 'source'", "leave it out: a table is read where"),
        ("'properties.group.id' = 'g'", "leave it out: offsets are kept"),
        ("'json.ignore-parse-errors' = 'true'", "write 'on-bad-row'"),
        ("'source.idle-timeout' = '1 min'", "write 'idle-timeout'"),
        ("source.offset = 'latest'", "write 'scan.startup.mode'"),
        ("'properties.security.protocol' = 'SASL_SSL'", "settings of the Kafka client stand under [kafka]"),
        ("'lookup.cache.ttl' = '1 min'", "write 'refresh-interval' = '30 seconds'"),
        ("on_bad_row = 'fail'", "did you mean \"on-bad-row\"?"),
    ] {
        let found = mistakes(&format!("CREATE TABLE t (a INT) WITH (connector = 'kafka', topic = 't', {option})"));
        assert!(found.contains("is not known\n  hint: ") && found.contains(want), "{option}: {found}");
    }
    // Where the connector is said in other words, they are told all the same.
    let found = mistakes("CREATE TABLE t (a INT) WITH (kafka_topic = 't', value_format = 'JSON', other = 'x')");
    assert!(found.contains("write 'topic' = '…'") && found.contains("write 'format' = 'json'"), "{found}");
    assert!(found.contains("option \"connector\" is missing") && !found.contains("other"), "{found}");
}

#[test]
fn queries_of_peers_that_cannot_be_read_say_what_to_write() {
    for (query, want) in [
        (
            "SELECT first_value(x) OVER (PARTITION BY u ORDER BY ts SESSION WITH GAP INTERVAL '5 MINUTES') FROM t",
            "a session is a window in FROM",
        ),
        (
            "SELECT id, max(value) FROM test WINDOW TUMBLING (SIZE 30 SECONDS, GRACE PERIOD 1 MINUTE) GROUP BY id",
            "write FROM TUMBLE(t, ts, INTERVAL '30 seconds')",
        ),
        ("SELECT window_start, max(cpu) FROM tumble(m, 5s) GROUP BY window_start", "write INTERVAL '5 seconds' for 5s"),
        (
            "SELECT window_start FROM tumble(m, ts, INTERVAL '1' SECOND) EMIT AFTER WINDOW CLOSE WITH DELAY 2s",
            "EMIT ON WINDOW CLOSE",
        ),
        (
            "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY a ORDER BY ts PATTERN (A) DEFINE A AS x > 1)",
            "join the stream with itself",
        ),
    ] {
        let found = mistakes(query);
        assert!(found.contains("\n  hint: ") && found.contains(want), "{query}: {found}");
    }
}
