//! What is written for a source, and that nothing of the sample is lost in reading with it.

use std::fs;

use arrow::array::{ArrayRef, Int64Array, MapBuilder, StringBuilder, TimestampMicrosecondArray, UInt64Array};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

use super::*;

const LIMITS: Limits = Limits { rows: 1_000, bytes: 1 << 20 };

/// The statement for a file, without the line that names it.
fn inferred(folder: &Path, name: &str, bytes: &[u8]) -> String {
    fs::write(folder.join(name), bytes).expect("written");
    let text = proposal(&folder.join(name), LIMITS).expect("inferred").text();
    text.split_once('\n').expect("lines").1.replace(&folder.display().to_string(), "…")
}

fn proposal(path: &Path, limits: Limits) -> Result<Proposal> {
    let proposal = Proposal::with_watermark(Sample::of_path(path, limits)?, limits)?;
    // It is a statement as any other.
    parse_file("", &proposal.text()).map_err(one_error)?;
    Ok(proposal)
}

#[test]
fn a_statement_declares_what_the_records_hold() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = r#"{"id": 1, "orderId": "a", "at": "2026-01-10T15:00:05Z", "took": 1.5, "tags": ["x"], "author": {"name": "Ann", "age": 3}}
{"id": 2, "orderId": 7, "at": "2026-01-10T15:00:09Z", "took": 2, "tags": [], "author": null, "flag": true}
no record
{"id": 3, "at": "2026-01-10T15:00:06Z", "flag": "no", "sent": 1768057206}
"#;
    let wanted = "\
-- Records of them that cannot be read, and will be bad ones: 1.
-- Event time at: 1 of 3 rows are out of order, by up to 3.0 s.
CREATE TABLE shop_orders (
  id BIGINT,
  \"orderId\" VARCHAR,
  at TIMESTAMP(3),
  took DOUBLE,
  tags VARCHAR[],
  author STRUCT<name VARCHAR, age BIGINT>,
  flag JSON,
  sent TIMESTAMP(3),
  WATERMARK FOR at AS at - INTERVAL '5' SECOND
) WITH (
  'connector' = 'filesystem',
  'path' = '…/shop-orders.ndjson',
  'format' = 'json',
  'timestamp-format.sent' = 'epoch-s',
  'numbers-as-text' = 'orderId'
);
";
    assert_eq!(inferred(folder.path(), "shop-orders.ndjson", json.as_bytes()), wanted);
    let csv = "\u{feff}seen_at;name;\"größe; cm\";code\n1768057206;Ann;1,5;007\n1768057207;;2;08\n";
    let wanted = "\
-- Event time seen_at: no row of 2 is out of order.
CREATE TABLE o (
  seen_at TIMESTAMP(3),
  name VARCHAR,
  \"größe; cm\" VARCHAR,
  code VARCHAR,
  WATERMARK FOR seen_at AS seen_at - INTERVAL '1' SECOND
) WITH (
  'connector' = 'filesystem',
  'path' = '…/o.csv',
  'format' = 'csv',
  'csv.delimiter' = ';',
  'timestamp-format.seen_at' = 'epoch-s'
);
";
    assert_eq!(inferred(folder.path(), "o.csv", csv.as_bytes()), wanted);
}

#[test]
fn a_parquet_file_keeps_its_types_and_says_what_it_cannot() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    (0..2).for_each(|_| map.append(true).expect("a map"));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("Big", Arc::new(UInt64Array::from(vec![u64::MAX, 1]))),
        ("ts", Arc::new(TimestampMicrosecondArray::from(vec![5_000_000, 2_000_000]).with_timezone("Europe/Berlin"))),
        ("n", Arc::new(Int64Array::from(vec![None, Some(1)]))),
        ("map", Arc::new(map.finish())),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("four columns");
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    let wanted = "\
-- Event time ts: 1 of 2 rows are out of order, by up to 3.0 s.
CREATE TABLE x (
  \"Big\" DECIMAL(20, 0),
  ts TIMESTAMP(6),
  n BIGINT,
  map MAP<VARCHAR, VARCHAR>,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
  'connector' = 'filesystem',
  'path' = '…/x.parquet',
  'format' = 'parquet'
);
";
    assert_eq!(inferred(folder.path(), "x.parquet", &writer.into_inner().expect("bytes")), wanted);
}

#[test]
fn hostile_samples_end_in_a_table_or_in_a_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(60), "]".repeat(60));
    for (name, text, has) in [
        (
            "a.json",
            "{\"x y\":1,\"\":2,\"a\\\"b\":3,\"it's\":4,\"a,b\":\"1\",\"SELECT\":5}",
            "\"a\"\"b\" BIGINT,\n  \"it's\" BIGINT",
        ),
        ("a.json", "{\"a,b\":\"1\"}\n{\"a,b\":1}\n{\"b\":1}", "Left out: \"a,b\": no option can name it"),
        ("a.json", "{\"t\":\"9999-12-31T23:59:59.123456789Z\"}", "t VARCHAR"),
        ("a.json", "{\"n\":1e400}\n{\"n\":1}", "n VARCHAR"),
        ("a.json", "{\"n\":-0.0, \"m\": 123456789012345678901234567890123456789}", "m DOUBLE"),
        ("a.json", deep.as_str(), "CREATE TABLE a ("),
        ("2026.json", "{\"a\":null}", "CREATE TABLE t_2026 (\n  a VARCHAR\n"),
        ("b.csv", "a,a,,b\n1,2,3,4\n5,6,7,x\n", "a BIGINT,\n  b VARCHAR"),
        ("b.csv", "a,b\n1,2\n3\n\"x", "CREATE TABLE b ("),
        ("b.csv", "a,b\n", "a VARCHAR,\n  b VARCHAR"),
        ("b.tsv", "a\tb\n1\t2\n", "'csv.delimiter' = '\\t'"),
        ("b.log", "  {\"a\":1}", "a BIGINT"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        let found = proposal(&path, LIMITS).expect(text).text();
        assert!(found.contains(has), "{text}\n{found}");
    }
    for (name, text, said) in [
        ("a.json", "", "is empty"),
        ("a.json", "[\n1\n]\n", "none of 3 records of"),
        ("a.json", "{}", "has no field that can be a column"),
        ("a.csv", "", "is empty"),
        ("a.parquet", "PAR1", "as Parquet"),
        ("a.txt", "hello", "cannot be told"),
        ("a.json.gz", "{\"a\":1}", "is no gzip file"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        let error = proposal(&path, LIMITS).err().map(|error| error.report()).unwrap_or_default();
        assert!(error.contains(said), "{text}: {error}");
    }
    let nowhere = folder.path().join("nowhere.csv");
    assert!(proposal(&nowhere, LIMITS).is_err());
    let missing = is_there(&nowhere).expect_err("no file").report();
    assert!(
        missing.contains("nowhere.csv\n  hint: correct the path, which counts from the current folder"),
        "{missing}"
    );
    fs::create_dir(folder.path().join("none")).expect("a folder");
    let none = proposal(&folder.path().join("none"), LIMITS).expect_err("no file").report();
    assert!(none.contains("none\n  hint: name the file"), "{none}");
}

#[test]
fn a_list_of_objects_may_be_the_rows_and_it_is_said_how() {
    let folder = tempfile::tempdir().expect("a folder");
    let note = |text: &str| {
        let text = inferred(folder.path(), "a.json", text.as_bytes());
        text.lines().find(|line| line.contains("json.rows")).map(str::to_owned)
    };
    assert_eq!(
        note(r#"{"match": 1, "events": [{"id": 1}, {"id": 2}]}"#).expect("a note"),
        "-- events is a list of objects: for a row of each, declare their fields as the columns, and add 'json.rows' = '$.events[*]'."
    );
    let odd = note(r#"{"Its events": [{"id": 1}]}"#).expect("a note");
    assert!(odd.ends_with(r#"add 'json.rows' = '$."Its events"[*]'."#), "{odd}");
    for other in [
        r#"{"a": [1]}"#,
        r#"{"a": [{"b": 1}], "c": [{"d": 1}]}"#,
        r#"{"a": [{"b": 1}]}
{"a": {"b": 1}}"#,
    ] {
        assert_eq!(note(other), None, "{other}");
    }
    let lines = folder.path().join("b.ndjson");
    fs::write(&lines, "[{\"a\": 1}, {\"a\": 2}]\n").expect("written");
    let error = proposal(&lines, LIMITS).expect_err("no object").report();
    assert!(error.contains("'json.rows' = '$[*]'"), "{error}");
}

#[test]
fn a_sample_is_bounded_by_rows_and_by_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = |line: &str| line.repeat(10_000);
    for (name, text) in [("a.json", lines("{\"a\":12345678}\n")), ("a.csv", format!("a\n{}", lines("12345678\n")))] {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        let few = proposal(&path, Limits { rows: 7, bytes: 1 << 20 }).expect("a table");
        assert_eq!((few.sample.records, few.sample.whole), (7, false));
        assert!(few.text().starts_with("-- From the first 7 records of "), "{}", few.text());
        let few = proposal(&path, Limits { rows: 10_000, bytes: 20_000 }).expect("a table");
        assert!(few.sample.records < 10_000, "{}", few.sample.records);
        let all = proposal(&path, Limits { rows: 20_000, bytes: 1 << 24 }).expect("a table");
        assert_eq!((all.sample.records, all.sample.whole), (10_000, true));
    }
}

#[test]
fn a_source_is_a_path_or_a_topic() {
    let topic = |brokers: &str, topic: &str| Given::Topic { brokers: brokers.to_owned(), topic: topic.to_owned() };
    for (text, given) in [
        ("a/b.csv", Given::Path("a/b.csv".into())),
        ("kafka://localhost:9092/orders", topic("localhost:9092", "orders")),
        ("kafka://a:1,b:2/orders", topic("a:1,b:2", "orders")),
    ] {
        assert_eq!(text.parse(), Ok(given));
    }
    for text in ["kafka://localhost:9092", "kafka://localhost:9092/", "kafka:///x", "kafka://a:1/x/y", "s3://a/b"] {
        assert!(text.parse::<Given>().is_err(), "{text}");
    }
}
