use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use proptest::prelude::*;

use super::*;
use crate::catalog::{
    CSV_DELIMITER_DEFAULT, Column, ColumnKind, Connector, Emit, FilesystemPath, Format, KafkaTopic, MetadataKey,
    OnBadRow, RecordRows, StartAt, TableDef, WatermarkDef,
};
use crate::sql::report;
use crate::watermark::Monotone;

fn parse(text: &str) -> Vec<Statement> {
    parse_file("test.sql", text).unwrap_or_else(|errors| panic!("{}", report(&errors)))
}

fn table(text: &str) -> TableDef {
    match parse(text).pop() {
        Some(Statement::CreateTable(table)) => table,
        other => panic!("not a table: {other:?}"),
    }
}

fn view(text: &str) -> ViewDef {
    match parse(text).pop() {
        Some(Statement::CreateView(view) | Statement::Select(view) | Statement::Insert { view, .. }) => view,
        other => panic!("not a query: {other:?}"),
    }
}

fn mistakes(text: &str) -> String {
    report(&parse_file("test.sql", text).expect_err(text))
}

const MILLIS: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

#[test]
fn a_kafka_table_with_everything_is_read_as_written() {
    let text = "CREATE TABLE match_events (
  event_id   VARCHAR NOT NULL COMMENT 'unique',
  match_id   VARCHAR NOT NULL,
  x          DOUBLE,
  amount     DECIMAL(12, 2),
  tags       VARCHAR[],
  player     STRUCT<id BIGINT, name VARCHAR>,
  ts         TIMESTAMP(3) NOT NULL,
  kafka_offset BIGINT NOT NULL METADATA FROM 'offset' VIRTUAL,
  partition  INT METADATA VIRTUAL,
  headers    STRUCT<key VARCHAR, value BYTEA>[] METADATA,
  PRIMARY KEY (match_id, event_id) NOT ENFORCED,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
  'connector' = 'kafka', topic = 'match-events', format = 'json', 'on-bad-row' = 'fail',
  'properties.bootstrap.servers' = 'localhost:9092', scan.startup.mode = 'latest-offset',
  'idle-timeout' = '1 minute', 'watermark-max-future' = '10 seconds', 'aliases.match_id' = 'game, gameId',
  'numbers-as-text' = 'match_id'
)";
    let table = table(&format!("-- what happened\n\n{text};\n"));
    let player =
        Fields::from(vec![Field::new("id", DataType::Int64, true), Field::new("name", DataType::Utf8View, true)]);
    let columns = vec![
        Column { comment: Some("unique".into()), ..Column::physical("event_id", DataType::Utf8View, false) },
        Column {
            kind: ColumnKind::Physical { aliases: vec!["game".into(), "gameId".into()], numbers_as_text: true },
            ..Column::physical("match_id", DataType::Utf8View, false)
        },
        Column::physical("x", DataType::Float64, true),
        Column::physical("amount", DataType::Decimal128(12, 2), true),
        Column::physical("tags", DataType::new_list(DataType::Utf8View, true), true),
        Column::physical("player", DataType::Struct(player), true),
        Column::physical("ts", MILLIS, false),
        Column {
            kind: ColumnKind::Metadata(MetadataKey::Offset),
            ..Column::physical("kafka_offset", DataType::Int64, false)
        },
        Column {
            kind: ColumnKind::Metadata(MetadataKey::Partition),
            ..Column::physical("partition", DataType::Int32, true)
        },
        Column {
            kind: ColumnKind::Metadata(MetadataKey::Headers),
            ..Column::physical("headers", crate::sql::metadata_type(MetadataKey::Headers), true)
        },
    ];
    let want = TableDef {
        name: "match_events".into(),
        columns,
        watermark: Some(WatermarkDef {
            column: "ts".into(),
            steps: vec![Monotone::Less(5_000_000)],
            idle_timeout: Some(Duration::from_secs(60)),
            max_future: Duration::from_secs(10),
        }),
        primary_key: vec!["match_id".into(), "event_id".into()],
        connector: Connector::Kafka(KafkaTopic {
            topic: "match-events".into(),
            brokers: Some("localhost:9092".into()),
            start: StartAt::Latest,
        }),
        format: Format::Json,
        csv_delimiter: CSV_DELIMITER_DEFAULT,
        rows: RecordRows::One,
        on_bad_row: OnBadRow::Fail,
        refresh_interval: None,
        http: None,
        text: text.to_owned(),
        location: Location { file: "test.sql".into(), line: 3, column: 1 },
    };
    assert_eq!(table, want);
}

#[test]
fn what_is_not_said_has_the_documented_default() {
    let table = table(
        "create table T (\"Id\" int primary key not enforced, ts timestamp, watermark for ts as ts)
         with ('connector' = 'kafka', 'topic' = 't')",
    );
    assert_eq!(table.name, "t");
    assert_eq!(table.columns[0].name, "Id");
    assert_eq!(table.primary_key, ["Id"]);
    assert_eq!(table.format, Format::Json);
    assert_eq!(table.on_bad_row, OnBadRow::DeadLetter);
    let watermark = table.watermark.expect("a watermark");
    assert_eq!(watermark.steps, []);
    assert_eq!(watermark.idle_timeout, Some(Duration::from_secs(30)));
    assert_eq!(watermark.max_future, Duration::from_secs(300));
    assert_eq!(
        table.connector,
        Connector::Kafka(KafkaTopic { topic: "t".into(), brokers: None, start: StartAt::Earliest })
    );
}

#[test]
fn a_files_format_follows_its_ending_unless_given() {
    for (options, path, format) in [
        ("'path' = 'a/b.ndjson'", "a/b.ndjson", Format::Json),
        ("'path' = 'teams.csv'", "teams.csv", Format::Csv),
        ("path = 'teams.parquet'", "teams.parquet", Format::Parquet),
        ("'path' = 'folder', 'format' = 'csv'", "folder", Format::Csv),
    ] {
        let table = table(&format!("CREATE TABLE t (a INT) WITH ('connector' = 'filesystem', {options})"));
        assert_eq!(table.connector, Connector::Filesystem(FilesystemPath { path: path.into() }), "{options}");
        assert_eq!(table.format, format, "{options}");
        assert!(!table.is_stream());
        assert_eq!(table.refresh_interval, None);
    }
    let options = "'connector' = 'filesystem', 'path' = 'teams.csv', 'refresh-interval' = '30 s'";
    let table = table(&format!("CREATE TABLE t (a INT) WITH ({options})"));
    assert_eq!(table.refresh_interval, Some(Duration::from_secs(30)));
}

#[test]
fn never_switches_the_idle_timeout_off_and_a_zone_is_kept() {
    let table = table(
        "CREATE TABLE t (ts TIMESTAMP(6) WITH TIME ZONE, WATERMARK FOR ts AS ts - INTERVAL '1 minute 30 seconds')
         WITH ('connector' = 'filesystem', 'path' = 'x.csv', 'idle-timeout' = 'never')",
    );
    let watermark = table.watermark.clone().expect("a watermark");
    assert_eq!((watermark.steps, watermark.idle_timeout), (vec![Monotone::Less(90_000_000)], None));
    assert_eq!(table.columns[0].data_type, DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())));
}

#[test]
fn a_watermark_is_any_function_of_its_column_that_never_falls() {
    const MINUTE: Monotone = Monotone::Floor { unit: 60_000_000, origin: 0 };
    for (watermark, steps) in [
        ("ts", vec![]),
        ("ts AS ts", vec![]),
        ("ts AS (ts)", vec![]),
        ("ts AS \"ts\" - INTERVAL '0' SECOND", vec![]),
        (
            "ts AS ts - INTERVAL '5' SECOND - INTERVAL '1 minute'",
            vec![Monotone::Less(5_000_000), Monotone::Less(60_000_000)],
        ),
        ("ts AS date_trunc('minute', ts) - INTERVAL '5 seconds'", vec![MINUTE, Monotone::Less(5_000_000)]),
        (
            "ts AS date_trunc('MONTH', TS - INTERVAL '5 seconds')",
            vec![Monotone::Less(5_000_000), Monotone::FloorMonths(1)],
        ),
        ("ts AS CAST(ts AS TIMESTAMP(6))", vec![]),
        ("ts AS ts::TIMESTAMP(0)", vec![Monotone::Floor { unit: 1_000_000, origin: 0 }]),
        (
            "ts AS CAST(CAST(ts AS DATE) AS TIMESTAMP(3))",
            vec![Monotone::Floor { unit: 86_400_000_000, origin: 0 }, Monotone::Floor { unit: 1_000, origin: 0 }],
        ),
        ("ts AS date_bin(INTERVAL '1 minute', ts)", vec![MINUTE]),
        (
            "ts AS date_bin(INTERVAL '1 minute', ts, TIMESTAMP '1970-01-01 00:00:07')",
            vec![Monotone::Floor { unit: 60_000_000, origin: 7_000_000 }],
        ),
    ] {
        let table = table(&format!(
            "CREATE TABLE t (ts TIMESTAMP(3), WATERMARK FOR {watermark}) WITH ('connector' = 'kafka', 'topic' = 't')"
        ));
        assert_eq!(table.watermark.expect("a watermark").steps, steps, "{watermark}");
    }
}

#[test]
fn a_view_has_its_options_its_query_and_its_text() {
    let text = "CREATE MATERIALIZED VIEW momentum_5m WITH ('primary-key' = 'match_id, team_id , window_start',
  'allowed-lateness' = '10 seconds', postgres = false, 'parquet.rows' = 'final', 'session-max-length' = '4 hours', 'time-column' = 'window_start', 'state-ttl' = '1 day') AS
SELECT window_start, match_id, count(*) AS shots
FROM TUMBLE(match_events, ts, INTERVAL '5 minutes')
WHERE event_type IN ('shot', 'goal')
GROUP BY window_start, match_id
EMIT ON WINDOW CLOSE";
    let view = view(&format!("/* é */ {text} -- done\n;"));
    assert_eq!(view.name, "momentum_5m");
    assert_eq!(view.options.primary_key, ["match_id", "team_id", "window_start"]);
    assert_eq!(view.options.allowed_lateness, Duration::from_secs(10));
    assert_eq!((view.options.postgres, view.options.parquet_rows), (Some(false), ParquetRows::Final));
    assert_eq!(view.options.state_ttl, Some(Duration::from_secs(24 * 3600)));
    assert_eq!(view.options.time_column.as_deref(), Some("window_start"));
    assert_eq!(view.options.session_max_length, Some(Duration::from_secs(4 * 3600)));
    assert_eq!(view.emit, Emit::default());
    assert_eq!(view.text, text);
    assert_eq!((view.location.line, view.location.column), (1, 9));
    assert!(view.query.to_string().starts_with("SELECT window_start, match_id"));
}

#[test]
fn files_of_changes_are_for_a_view_whose_rows_change() {
    let text = |option: &str, emit: &str| {
        format!("CREATE MATERIALIZED VIEW v WITH ('parquet.rows' = '{option}') AS SELECT a FROM t {emit}")
    };
    assert_eq!(view(&text("changes", "EMIT CHANGES")).options.parquet_rows, ParquetRows::Changes);
    assert_eq!(view(&text("final", "")).options.parquet_rows, ParquetRows::Final);
    let errors = mistakes(&text("changes", "EMIT ON WINDOW CLOSE"));
    assert!(errors.contains("test.sql:1:34: ") && errors.contains("the rows of this view do not change"), "{errors}");
    let errors = mistakes(&text("all", "EMIT CHANGES"));
    assert!(errors.contains("it is 'final', or 'changes'"), "{errors}");
}

#[test]
fn emission_follows_a_query_whatever_it_ends_with() {
    let timeout = Emit { timeout: Some(Duration::from_secs(3)), early: None };
    for (text, want) in [
        ("SELECT a FROM t", Emit::default()),
        ("SELECT a FROM t EMIT ON WINDOW CLOSE", Emit::default()),
        ("SELECT a FROM t AS x EMIT ON WINDOW CLOSE", Emit::default()),
        ("SELECT 1 EMIT TIMEOUT INTERVAL '3 seconds'", timeout),
        ("SELECT a FROM t GROUP BY a EMIT TIMEOUT INTERVAL '3' SECOND", timeout),
        ("SELECT a FROM t WHERE a = 1 EMIT ON WINDOW CLOSE EMIT TIMEOUT INTERVAL '3 seconds'", timeout),
        ("SELECT a FROM t EMIT ON WINDOW CLOSE TIMEOUT INTERVAL '3 seconds'", timeout),
        ("SELECT a FROM t EMIT TIMEOUT INTERVAL '3 seconds' EMIT ON WINDOW CLOSE", timeout),
        ("SELECT a FROM TUMBLE(t, ts, INTERVAL '1 minute') EMIT TIMEOUT INTERVAL '3 seconds'", timeout),
        ("SELECT a FROM t JOIN u ON t.a = u.a EMIT TIMEOUT INTERVAL '3 seconds'", timeout),
        ("SELECT a FROM (SELECT 1 AS a) EMIT TIMEOUT INTERVAL '3 seconds'", timeout),
        ("SELECT a FROM t UNION ALL SELECT a FROM u EMIT TIMEOUT INTERVAL '3 seconds'", timeout),
        ("INSERT INTO target SELECT a FROM t EMIT TIMEOUT INTERVAL '3 seconds'", timeout),
    ] {
        assert_eq!(view(text).emit, want, "{text}");
    }
}

#[test]
fn emit_is_still_a_name() {
    for text in [
        "SELECT emit FROM t",
        "SELECT a emit FROM t",
        "SELECT emit.a FROM t emit",
        "SELECT a FROM t JOIN u emit ON emit.a = t.a",
        "SELECT a FROM t JOIN u emit ON window.a = t.a",
        "SELECT a FROM team_changes changes JOIN t at ON at.a = changes.a",
    ] {
        view(text);
    }
}

#[test]
fn inserts_and_bare_queries_are_named() {
    let statements = parse(
        "SELECT 1; INSERT INTO out SELECT 2; WITH a AS (SELECT 1) SELECT * FROM a;; VALUES (1); EXPLAIN SELECT 1;",
    );
    let names: Vec<(&str, Option<&str>)> = statements
        .iter()
        .map(|statement| match statement {
            Statement::Insert { target, view } => (view.name.as_str(), Some(target.as_str())),
            Statement::Select(view) | Statement::CreateView(view) => (view.name.as_str(), None),
            Statement::CreateTable(table) => (table.name.as_str(), None),
            Statement::CreatePlainView(view) => (view.name.as_str(), None),
            Statement::CreateFunction(function) => (function.name.as_str(), None),
            Statement::Explain(_) => ("explained", None),
        })
        .collect();
    assert_eq!(
        names,
        [("query_1", None), ("out", Some("out")), ("query_3", None), ("query_4", None), ("explained", None)]
    );
}

#[test]
fn every_spelling_of_a_window_function_parses() {
    for call in [
        "TUMBLE(t, ts, INTERVAL '1 minute')",
        "TUMBLE(t, INTERVAL '1' MINUTE) AS w",
        "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1 minute')",
        "TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE))",
        "TABLE(TUMBLE(TABLE s.t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) w",
        "TABLE(TUMBLE(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' MINUTE))",
        "HOP(t, ts, INTERVAL '1 minute', INTERVAL '10 minutes')",
        "TUMBLE((SELECT * FROM t WHERE a > 1), ts, INTERVAL '1 minute')",
    ] {
        view(&format!("SELECT * FROM {call} EMIT ON WINDOW CLOSE"));
    }
}

#[test]
fn ordinary_sql_parses_to_the_same_tree_as_in_the_generic_dialect() {
    for text in [
        "SELECT a, b AS c, count(*) FILTER (WHERE x > 1) FROM t WHERE a IN (1, 2) GROUP BY 1, 2 HAVING count(*) > 1",
        "SELECT * EXCEPT (a) FROM t, LATERAL (SELECT 1) u LEFT JOIN v USING (k) ORDER BY a DESC NULLS LAST LIMIT 3 OFFSET 1",
        "WITH RECURSIVE a AS (SELECT 1 UNION ALL SELECT n + 1 FROM a) SELECT * FROM a",
        "SELECT sum(x) OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
        "SELECT CASE WHEN a THEN 'x' ELSE $$y$$ END, x::int, CAST(y AS TIMESTAMP(3)), INTERVAL '1' DAY FROM \"T\"",
        "SELECT {'a': 1}, [1, 2][1], s['k'], s.f.g, struct(1, 2), x -> 'a' ->> 'b', MAP {'k': 1} FROM t",
        "SELECT a /* comment */, -- another\n b FROM t `q` TABLESAMPLE BERNOULLI (10)",
        "SELECT * FROM generate_series(1, 10) AS g(n) CROSS JOIN UNNEST(ARRAY[1, 2]) AS u",
        "SELECT EXTRACT(YEAR FROM ts), date_trunc('hour', ts), position('a' IN b), trim(BOTH ' ' FROM c) FROM t",
        "SELECT * FROM a NATURAL JOIN b FULL OUTER JOIN c ON a.x = c.x WHERE EXISTS (SELECT 1) AND NOT a.y BETWEEN 1 AND 2",
        "SELECT a FROM t WHERE b LIKE 'x%' ESCAPE '!' OR c ~ 'r' OR d IS NOT DISTINCT FROM e QUALIFY row_number() OVER () = 1",
        "FROM t SELECT a, b, FROM u",
        "SELECT DISTINCT ON (a) a, b FROM t FETCH FIRST 5 ROWS ONLY",
        "VALUES (1, 'a'), (2, 'b')",
        "SELECT ifnull(a, table_name) FROM t WHERE f(lambda => 1, x := 2)",
    ] {
        let generic = Parser::new(&GenericDialect).try_with_sql(text).and_then(|mut parser| {
            let query = parser.parse_query()?;
            Ok((query, parser.peek_token().token))
        });
        let source = SourceText::new("t", text).expect("short");
        let (tokens, _) = source.tokens(&StreamDialect::default());
        let dialect = StreamDialect::for_tokens(&tokens);
        let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
        let ours = parser.parse_query().map(|query| (query, parser.peek_token().token));
        assert_eq!(ours, generic, "{text}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_reported_at_once_and_in_order() {
    let text = "-- a comment
CREATE TABLE a (x INT, x INT, ts VARCHAR, j GEOM, WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topik' = 't');
SELEC 1;
SELECT 1;
  SELECT a b c FROM t;
SELECT 'never closed";
    assert_eq!(
        mistakes(text),
        r#"test.sql:2:1: option "topic" is missing
  hint: connector 'kafka' needs it, as in 'topic' = 'match-events'

test.sql:2:24: column "x" is given twice
  hint: rename or remove one of them

test.sql:2:45: type GEOM of column "j" is not supported
  hint: use BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, REAL, DOUBLE, DECIMAL(p, s), VARCHAR, UUID, JSON, BYTEA, DATE, TIME, TIMESTAMP(3), STRUCT<name type, …>, MAP<VARCHAR, type> or type[]

test.sql:2:65: the watermark's column "ts" is not a timestamp
  hint: declare it as ts TIMESTAMP(3)

test.sql:3:30: option "topik" is not known
  hint: did you mean "topic"?

test.sql:4:1: expected a statement, found `SELEC`
  hint: a file holds CREATE TABLE, CREATE VIEW, CREATE MATERIALIZED VIEW, CREATE FUNCTION, INSERT INTO … SELECT, SELECT and EXPLAIN statements

test.sql:6:14: expected the end of the statement, found `c`
  hint: statements end with a semicolon

test.sql:7:8: unterminated string literal
  hint: close the quote or comment that begins here"#
    );
}

/// Each mistake alone: statement, then the whole report.
const GOLDEN: &[(&str, &str)] = &[
    (
        "DROP TABLE t",
        "test.sql:1:1: expected a statement, found `DROP`\n  hint: a file holds CREATE TABLE, CREATE VIEW, CREATE MATERIALIZED VIEW, CREATE FUNCTION, INSERT INTO … SELECT, SELECT and EXPLAIN statements",
    ),
    (
        "CREATE VIEW v WITH ('postgres' = 'false') AS SELECT 1",
        "test.sql:1:15: a view has no options: nothing of it is stored\n  hint: leave WITH (…) out, or write CREATE MATERIALIZED VIEW",
    ),
    (
        "CREATE VIEW v AS SELECT 1 EMIT ON WINDOW CLOSE",
        "test.sql:1:27: a view emits nothing: it is part of the queries that read it\n  hint: leave EMIT out, or write CREATE MATERIALIZED VIEW",
    ),
    (
        "CREATE SINK s",
        "test.sql:1:8: cannot create SINK\n  hint: a CREATE MATERIALIZED VIEW is written to Parquet files, and to PostgreSQL where one is configured: it needs no sink",
    ),
    (
        "CREATE OR REPLACE TABLE t (a INT)",
        "test.sql:1:8: CREATE OR REPLACE is not needed\n  hint: leave OR REPLACE out: a changed statement replaces the running one",
    ),
    (
        "CREATE TABLE IF NOT EXISTS t (a INT)",
        "test.sql:1:14: IF NOT EXISTS is not needed\n  hint: leave it out: a file says what shall exist, and is compared with what does",
    ),
    ("CREATE", "test.sql:1:7: expected TABLE, VIEW, MATERIALIZED VIEW or FUNCTION, found the end of the statement"),
    (
        "CREATE TABLE t (a INT)",
        "test.sql:1:1: option \"connector\" is missing\n  hint: add 'connector' = 'kafka', 'filesystem' or 'postgres'",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafak')",
        "test.sql:1:44: connector \"kafak\" is not known\n  hint: known are 'kafka', 'filesystem' and 'postgres'; did you mean 'kafka'?",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'filesystem')",
        "test.sql:1:1: option \"path\" is missing\n  hint: connector 'filesystem' needs it, as in 'path' = 'data/events.ndjson'",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'filesystem', 'path' = 'dir')",
        "test.sql:1:1: option \"format\" is missing\n  hint: the path does not tell it; add 'format' = 'json', 'csv' or 'parquet'",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'path' = 'x')",
        "test.sql:1:68: option \"path\" belongs to connector 'filesystem'\n  hint: known are connector, format, on-bad-row, idle-timeout, watermark-max-future, aliases.<column>, numbers-as-text, timestamp-format, timestamp-format.<column>, json.rows, json.path.<column>, on-null, topic, brokers, properties.bootstrap.servers, scan.startup.mode, http.ingest, http.path, http.body, http.key, http.id",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = '../x')",
        "test.sql:1:63: \"../x\" cannot be the name of a topic\n  hint: use letters, digits, '.', '_' and '-', at most 249 of them",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'avro')",
        "test.sql:1:79: format \"avro\" is not known\n  hint: known are 'json', and for files 'csv' and 'parquet'",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'csv')",
        "test.sql:1:79: format \"csv\" is for files only\n  hint: connector 'kafka' reads 'json'",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', on_bad_row = 'fail')",
        "test.sql:1:68: option \"on_bad_row\" is not known\n  hint: did you mean \"on-bad-row\"?",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'on-bad-row' = 'skip')",
        "test.sql:1:83: option \"on-bad-row\" cannot be \"skip\"\n  hint: it is 'dead-letter' or 'fail'",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'topic' = 'u')",
        "test.sql:1:68: option \"topic\" is given twice\n  detail: first at test.sql:1:53",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'scan.startup.mode' = 'now')",
        "test.sql:1:90: option \"scan.startup.mode\" cannot be \"now\"\n  hint: it is 'earliest' or 'latest'",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'idle-timeout' = '3 s')",
        "test.sql:1:68: option \"idle-timeout\" has no effect on a table without a watermark\n  hint: add WATERMARK FOR … AS … - INTERVAL '5' SECOND, or leave the option out",
    ),
    (
        "CREATE TABLE t (a INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 't', 'idle-timeout' = '30')",
        "test.sql:1:126: option \"idle-timeout\" must be a number and a unit, as in '5 minutes'\n  detail: it is \"30\"",
    ),
    (
        "CREATE TABLE t (a INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 't', 'idle-timeout' = '0 seconds')",
        "test.sql:1:126: option \"idle-timeout\" must be longer than zero\n  detail: it is \"0 seconds\"\n  hint: 'never' lets a silent partition hold the watermark for ever",
    ),
    (
        "CREATE TABLE t (a INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 't', 'idle-timeout' = '1 second -1000 milliseconds', 'watermark-max-future' = '-1 ms')",
        "test.sql:1:126: option \"idle-timeout\" must be longer than zero\n  detail: it is \"1 second -1000 milliseconds\"\n  hint: 'never' lets a silent partition hold the watermark for ever\n\ntest.sql:1:182: option \"watermark-max-future\" must not be negative\n  detail: it is \"-1 ms\"",
    ),
    (
        "CREATE TABLE t (a INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 't', 'idle-timeout' = '100000000 days')",
        "test.sql:1:126: option \"idle-timeout\" is too long: at most 3652059 days are possible\n  detail: it is \"100000000 days\"",
    ),
    (
        "CREATE MATERIALIZED VIEW v WITH ('allowed-lateness' = '0.5 months') AS SELECT 1",
        "test.sql:1:55: option \"allowed-lateness\" must not have months or years, whose length varies; use days or shorter units\n  detail: it is \"0.5 months\"",
    ),
    (
        "CREATE MATERIALIZED VIEW v WITH ('allowed-lateness' = '-1 second') AS SELECT 1",
        "test.sql:1:55: option \"allowed-lateness\" must not be negative\n  detail: it is \"-1 second\"",
    ),
    (
        "CREATE MATERIALIZED VIEW v WITH ('allowed-lateness' = '1000000 weeks') AS SELECT 1",
        "test.sql:1:55: option \"allowed-lateness\" is too long: at most 3652059 days are possible\n  detail: it is \"1000000 weeks\"",
    ),
    (
        "CREATE MATERIALIZED VIEW v WITH ('session-max-length' = '0 seconds') AS SELECT 1",
        "test.sql:1:57: option \"session-max-length\" must be longer than zero\n  detail: it is \"0 seconds\"\n  hint: leave it out for sessions as long as rows come",
    ),
    (
        "SELECT * FROM TABLE(SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '0.5 months'))",
        "test.sql:1:78: the window's gap must not have months or years, whose length varies; use days or shorter units\n  hint: write a length as in INTERVAL '90' SECOND or INTERVAL '1 day'",
    ),
    (
        "SELECT tumble(ts, INTERVAL '0.5 months') AS w, count(*) FROM t GROUP BY w",
        "test.sql:1:28: the window's size must not have months or years, whose length varies; use days or shorter units\n  hint: write a length as in INTERVAL '90' SECOND or INTERVAL '1 day'",
    ),
    (
        "CREATE VIEW v AS SELECT * FROM (SELECT Hop(ts, INTERVAL '1' MINUTE, INTERVAL '0.001' YEAR) AS w FROM t)",
        "test.sql:1:78: the window's size must not have months or years, whose length varies; use days or shorter units\n  hint: write a length as in INTERVAL '90' SECOND or INTERVAL '1 day'",
    ),
    (
        "SELECT 1 EMIT TIMEOUT INTERVAL '0.01 years'",
        "test.sql:1:23: the timeout must not have months or years, whose length varies; use days or shorter units",
    ),
    (
        "CREATE TABLE t (a INT, ts TIMESTAMP(3), WATERMARK FOR tz AS tz) WITH ('connector' = 'kafka', 'topic' = 't')",
        "test.sql:1:55: the watermark names column \"tz\", which the table does not have\n  hint: did you mean \"ts\"?",
    ),
    (
        "CREATE TABLE t (ts TIMESTAMP(3), WATERMARK FOR ts AS now())",
        "test.sql:1:54: a watermark must not fall when \"ts\" rises, which is not known of now()\n  hint: write ts - INTERVAL '5' SECOND; date_trunc, date_bin and casts to another precision can stand in it",
    ),
    (
        "CREATE TABLE t (ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' MONTH)",
        "test.sql:1:68: the watermark's delay must not have months or years, whose length varies; use days or shorter units",
    ),
    (
        "CREATE TABLE t (ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '0.5' MONTH)",
        "test.sql:1:68: the watermark's delay must not have months or years, whose length varies; use days or shorter units",
    ),
    (
        "CREATE TABLE t (ts TIMESTAMP(3), WATERMARK FOR ts AS date_trunc('hour', at) - INTERVAL '1' HOUR)",
        "test.sql:1:73: the watermark of \"ts\" cannot be made of at\n  hint: write WATERMARK FOR ts AS ts - INTERVAL '5' SECOND",
    ),
    (
        "CREATE TABLE t (ts TIMESTAMP(3), WATERMARK FOR ts AS date_trunc('minute', ts) + INTERVAL '5' SECOND)",
        "test.sql:1:54: a watermark ahead of its column would make every row late\n  hint: write ts - INTERVAL '5' SECOND",
    ),
    (
        "CREATE TABLE t (ts TIMESTAMP(3), WATERMARK FOR ts AS least(ts, other) - INTERVAL '5' SECOND)",
        "test.sql:1:54: a watermark must not fall when \"ts\" rises, which is not known of least(ts, other)\n  hint: write ts - INTERVAL '5' SECOND; date_trunc, date_bin and casts to another precision can stand in it",
    ),
    (
        "CREATE TABLE t (ts TIMESTAMP(3), WATERMARK FOR ts AS date_trunc('fortnight', ts))",
        "test.sql:1:65: date_trunc has no part 'fortnight'\n  hint: write 'second', 'minute', 'hour', 'day', 'week', 'month', 'quarter' or 'year'",
    ),
    (
        "CREATE TABLE t (ts TIMESTAMP(3), WATERMARK FOR ts AS CAST(ts AS TIME))",
        "test.sql:1:59: a watermark must not fall when \"ts\" rises, which is not known of CAST(ts AS TIME)\n  hint: write ts - INTERVAL '5' SECOND; date_trunc, date_bin and casts to another precision can stand in it",
    ),
    (
        "CREATE TABLE t (ts TIMESTAMP(3), WATERMARK FOR ts AS date_bin(INTERVAL '0' SECOND, ts))",
        "test.sql:1:72: the stride of date_bin must be longer than zero",
    ),
    (
        "CREATE TABLE t (a INT, PRIMARY KEY (a))",
        "test.sql:1:24: a primary key of a stream cannot be enforced\n  hint: write PRIMARY KEY (…) NOT ENFORCED",
    ),
    (
        "CREATE TABLE t (a INT, PRIMARY KEY (b) NOT ENFORCED) WITH ('connector' = 'kafka', 'topic' = 't')",
        "test.sql:1:37: the primary key names column \"b\", which the table does not have\n  hint: did you mean \"a\"?",
    ),
    (
        "CREATE TABLE t (a INT METADATA FROM 'ofset') WITH ('connector' = 'kafka', 'topic' = 't')",
        "test.sql:1:37: metadata \"ofset\" is not known\n  hint: known are topic, partition, offset, timestamp, key, headers; did you mean 'offset'?",
    ),
    (
        "CREATE TABLE t (a INT METADATA FROM 'offset') WITH ('connector' = 'kafka', 'topic' = 't')",
        "test.sql:1:19: column \"a\" has the wrong type for metadata \"offset\"\n  hint: write a BIGINT METADATA FROM 'offset'",
    ),
    ("CREATE TABLE t (a INT,, b INT)", "test.sql:1:23: expected identifier, found `,`"),
    ("CREATE TABLE t (a INT", "test.sql:1:22: expected ), found the end of the statement"),
    (
        "CREATE TABLE \"../x\" (a INT)",
        "test.sql:1:14: \"../x\" cannot be the name of a table\n  hint: use letters, digits and _, at most 63 of them, not beginning with a digit",
    ),
    ("CREATE TABLE a.b (a INT)", "test.sql:1:14: the name of a table has one part\n  hint: leave the schema out"),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'aliases.b' = 'c')",
        "test.sql:1:68: option \"aliases.b\" names column \"b\", which the table does not have\n  hint: did you mean \"a\"?",
    ),
    (
        "CREATE TABLE t (a INT, b INT) WITH ('connector' = 'kafka', 'topic' = 't', 'aliases.a' = 'b')",
        "test.sql:1:89: field \"b\" would belong to two columns\n  hint: each field name belongs to one column, by its name or as an alias",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'numbers-as-text' = 'a, b')",
        "test.sql:1:88: option \"numbers-as-text\" names column \"a\", which is not read as text\n  hint: it is for columns of type VARCHAR\n\ntest.sql:1:88: option \"numbers-as-text\" names column \"b\", which the table does not have\n  hint: did you mean \"a\"?",
    ),
    (
        "CREATE TABLE t (a VARCHAR) WITH ('connector' = 'filesystem', 'path' = 't.csv', 'numbers-as-text' = 'a')",
        "test.sql:1:80: option \"numbers-as-text\" has no effect on a format other than 'json'\n  hint: leave it out",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'refresh-interval' = '30 s')",
        "test.sql:1:68: option \"refresh-interval\" belongs to connector 'filesystem'\n  hint: known are connector, format, on-bad-row, idle-timeout, watermark-max-future, aliases.<column>, numbers-as-text, timestamp-format, timestamp-format.<column>, json.rows, json.path.<column>, on-null, topic, brokers, properties.bootstrap.servers, scan.startup.mode, http.ingest, http.path, http.body, http.key, http.id",
    ),
    (
        "CREATE TABLE t (a INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'filesystem', 'path' = 't.csv', 'refresh-interval' = '30 s')",
        "test.sql:1:117: option \"refresh-interval\" has no effect on a table with a watermark\n  detail: such a table is a stream, and its files are read once\n  hint: leave it out",
    ),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'filesystem', 'path' = 't.csv', 'refresh-interval' = '50 ms')",
        "test.sql:1:97: option \"refresh-interval\" cannot be \"50 ms\"\n  hint: it is at least '100 ms', as in '30 seconds'; leave it out to read the table once",
    ),
    (
        "CREATE MATERIALIZED VIEW v WITH ('primary_key' = 'a', 'postgres' = 'maybe') AS SELECT 1 AS a",
        "test.sql:1:34: option \"primary_key\" is not known\n  hint: did you mean \"primary-key\"?\n\ntest.sql:1:68: option \"postgres\" cannot be \"maybe\"\n  hint: it is 'true' or 'false'",
    ),
    (
        "SELECT 1; CREATE MATERIALIZED VIEW v AS SELECT 1; CREATE MATERIALIZED VIEW v AS SELECT 2",
        "test.sql:1:51: \"v\" is defined twice\n  detail: first at test.sql:1:11\n  hint: rename one of them",
    ),
    (
        "SELECT a FROM t EMIT FINAL",
        "test.sql:1:17: EMIT FINAL is not available yet\n  hint: EMIT ON WINDOW CLOSE, with LATE CORRECTIONS or without, EMIT CHANGES, EMIT EVERY INTERVAL '1 second' and EMIT TIMEOUT INTERVAL '3 seconds' are available",
    ),
    (
        "SELECT a FROM t GROUP BY a EMIT SOMETIMES",
        "test.sql:1:28: cannot read this EMIT\n  hint: EMIT ON WINDOW CLOSE, with LATE CORRECTIONS or without, EMIT CHANGES, EMIT EVERY INTERVAL '1 second' and EMIT TIMEOUT INTERVAL '3 seconds' are available",
    ),
    ("SELECT a FROM t EMIT TIMEOUT INTERVAL '0' SECOND", "test.sql:1:30: the timeout must be longer than zero"),
    (
        "SELECT a FROM t EMIT ON WINDOW CLOSE EMIT ON WINDOW CLOSE",
        "test.sql:1:38: this EMIT is given twice\n  hint: leave one out",
    ),
    (
        "SELECT a FROM o CROSS JOIN c FOR SYSTEM_TIME AS OF o.ts",
        "test.sql:1:28: FOR SYSTEM_TIME AS OF is available with JOIN and LEFT JOIN\n  hint: write e LEFT JOIN t FOR SYSTEM_TIME AS OF e.ts AS t ON t.k = e.k",
    ),
    (
        "SELECT a FROM o ASOF JOIN c USING (k)",
        "test.sql:1:27: USING and NATURAL are not available in a join as of a time\n  hint: write ON a.k = b.k",
    ),
    (
        "WITH a AS (SELECT 1) DELETE FROM t",
        "test.sql:1:22: a query cannot change data\n  hint: a file holds CREATE TABLE, CREATE VIEW, CREATE MATERIALIZED VIEW, CREATE FUNCTION, INSERT INTO … SELECT, SELECT and EXPLAIN statements",
    ),
    ("SELECT a INTO u FROM t", "test.sql:1:1: SELECT INTO is not available\n  hint: write INSERT INTO … SELECT"),
    (
        "INSERT INTO t (a, b) SELECT 1, 2",
        "test.sql:1:15: a list of column names is not available here\n  hint: let the query return the target's columns in their order",
    ),
    ("SELECT * FROM", "test.sql:1:14: expected identifier, found the end of the statement"),
    (
        "SELECT * FROM t TABLESAMPLE BERNOULLI (10)",
        "test.sql:1:15: TABLESAMPLE is not available\n  hint: filter by a hash of the key, as in WHERE …",
    ),
];

#[test]
fn each_mistake_has_its_own_words_and_place() {
    let mut wrong = String::new();
    for (text, want) in GOLDEN {
        let found = mistakes(text);
        if found != *want {
            wrong.push_str(&format!("{text}\n--- want\n{want}\n--- found\n{found}\n\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn too_much_text_is_refused_before_it_costs_anything() {
    for (text, want) in [
        (format!("SELECT {}", " ".repeat(300 * 1024)), "SQL text is too long"),
        (format!("SELECT 1{}", " + 1".repeat(20_000)), "too many words and signs"),
        (format!("SELECT 1{}", " + 1".repeat(9_000)), "the expression is too long"),
        (format!("SELECT 1{}", " UNION ALL SELECT 1, 2, 3".repeat(1_500)), "the expression is too long"),
        (format!("SELECT {}1{}", "(".repeat(9_000), ")".repeat(9_000)), "nested too deeply"),
        (format!("SELECT 1 FROM {}t", "(".repeat(9_000)), "nested too deeply"),
        (format!("SELECT {} a", "NOT ".repeat(900)), "nested too deeply"),
        (format!("SELECT {} 1", "- ".repeat(900)), "nested too deeply"),
        (format!("SELECT {} 1", "INTERVAL ".repeat(900)), "nested too deeply"),
        // Each of these levels is tried twice: 2²⁴ attempts, were they not counted. What is said then matters less.
        (format!("SELECT {}", "INTERVAL ".repeat(24)), "test.sql:1:"),
        (format!("SELECT {}", "INTERVAL (".repeat(20)), "test.sql:1:"),
        (format!("SELECT {}", "INTERVAL - ".repeat(12)), "test.sql:1:"),
        (format!("SELECT {} 1", "CASE WHEN ".repeat(5_000)), "test.sql:1:"),
        (format!("CREATE TABLE t (a {}INT)", "ARRAY<".repeat(5_000)), "t"),
        (format!("/*!{}", "/*!".repeat(50_000)), "unexpected EOF"),
    ] {
        let start = Instant::now();
        let found = mistakes(&text);
        assert!(found.to_lowercase().contains(&want.to_lowercase()), "{want}: {found}");
        assert!(start.elapsed() < Duration::from_secs(5), "{want} took {:?}", start.elapsed());
    }
}

#[test]
fn what_is_long_but_flat_is_accepted() {
    view(&format!("SELECT a FROM t WHERE a IN ({})", vec!["1"; 9_000].join(", ")));
    view(&format!("SELECT 1{}", " + 1".repeat(900)));
    view(&format!("SELECT {}1{}", "(".repeat(20), ")".repeat(20)));
    view(&format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(150)));
}

/// Pieces that mean something to the parser, so that random texts get deep into it.
const PIECES: &[&str] = &[
    "SELECT",
    "FROM",
    "(",
    ")",
    "(",
    ")",
    ",",
    ";",
    "TABLE",
    "TUMBLE",
    "t",
    "ts",
    "'x'",
    "1",
    "EMIT",
    "ON",
    "WINDOW",
    "CLOSE",
    "INTERVAL",
    "CREATE",
    "MATERIALIZED",
    "VIEW",
    "AS",
    "WITH",
    "WATERMARK",
    "FOR",
    "=",
    "=>",
    ".",
    "METADATA",
    "NOT",
    "NULL",
    "JOIN",
    "ASOF",
    "MATCH_CONDITION",
    "WHERE",
    "GROUP",
    "BY",
    "CASE",
    "WHEN",
    "END",
    "CAST",
    "ARRAY",
    "[",
    "]",
    "<",
    ">",
    "STRUCT",
    "{",
    "}",
    "-",
    "::",
    "UNION",
    "ALL",
    "LATERAL",
    "VALUES",
    "IN",
    "EXISTS",
    "OVER",
    "INSERT",
    "INTO",
    "*",
    "IS",
    "BETWEEN",
    "AND",
    "UNNEST",
    "CHECK",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, max_shrink_iters: 50, failure_persistence: None, ..Default::default() })]

    #[test]
    fn arbitrary_text_gives_statements_or_errors(text in ".{0,200}") {
        let _ = parse_file("t", &text);
    }

    #[test]
    fn arbitrary_words_give_statements_or_errors_in_time(
        words in prop::collection::vec(prop::sample::select(PIECES), 0..120),
    ) {
        let start = Instant::now();
        let _ = parse_file("t", &words.join(" "));
        prop_assert!(start.elapsed() < Duration::from_secs(5), "{}", words.join(" "));
    }

    #[test]
    fn nested_shapes_are_read_or_refused_in_time(
        opening in prop::collection::vec(prop::sample::select(&[
            "(", "SELECT * FROM (", "((SELECT 1 FROM ", "f(", "TABLE(", "CASE WHEN ", "a IN (", "STRUCT<a ", "ARRAY<", "[", "NOT ",
            "EXISTS (", "x = (SELECT ", "CAST(", "WITH a AS (", "LATERAL (", "t JOIN (", "(t JOIN (", "{'a': ", "INTERVAL ", "MAP(",
            "UNION(", "Nullable(", "FROM ((", "SELECT (", "t, ((",
        ][..]), 0..40),
        repeat in 1usize..30,
    ) {
        let start = Instant::now();
        let text = format!("SELECT * FROM {}", opening.concat());
        let _ = parse_file("t", &text);
        if let Some(one) = opening.first() {
            let _ = parse_file("t", &format!("SELECT * FROM {}", one.repeat(repeat)));
            let _ = parse_file("t", &format!("SELECT {}", one.repeat(repeat)));
        }
        prop_assert!(start.elapsed() < Duration::from_secs(5), "{text} and {repeat}");
    }
}
