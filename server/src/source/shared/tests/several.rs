//! Tables whose records have several rows: a list, or lines, with what the record says of all and what is computed.

use super::*;
use crate::catalog::Statement;
use crate::sql::{parse_file, report};

const COLUMNS: &str = "id BIGINT NOT NULL, n INT, note VARCHAR, ts TIMESTAMP(3)";
const WATERMARK: &str = "WATERMARK FOR ts AS ts";

fn declared(columns: &str, rows: &str) -> Arc<TableDef> {
    let text = format!(
        "CREATE TABLE t ({columns}) WITH ('connector' = 'kafka', 'topic' = 't', 'watermark-max-future' = '60 seconds', {rows})"
    );
    match parse_file("t.sql", &text).unwrap_or_else(|errors| panic!("{}", report(&errors))).pop() {
        Some(Statement::CreateTable(table)) => Arc::new(table),
        other => panic!("no table: {other:?}"),
    }
}

/// Four columns of the element, one of the record, and one that cannot be computed where `n` is 0.
fn events() -> Arc<TableDef> {
    let columns = format!("{COLUMNS}, game VARCHAR NOT NULL, share AS 60 / n, {WATERMARK}");
    declared(&columns, "'json.rows' = '$.events[*]', 'json.path.game' = '$.game'")
}

fn lines() -> Arc<TableDef> {
    declared(&format!("{COLUMNS}, {WATERMARK}"), "'json.rows' = 'lines'")
}

fn elements() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![6 => prop::collection::vec(text(), 1..5), 1 => Just(vec![])]
}

/// Of ten in good order some are no JSON, have no list, or lack what belongs to all rows.
fn record_of_events() -> impl Strategy<Value = String> {
    (0..10, elements()).prop_map(|(kind, elements)| {
        let elements = elements.join(",");
        match kind {
            0 => r#"{"game":"a","events":null}"#.to_owned(),
            1 => format!(r#"{{"events":[{elements}]}}"#),
            2 => "[".to_owned(),
            _ => format!(r#"{{"game":"a game","events":[{elements}]}}"#),
        }
    })
}

fn log_of(record: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<Vec<String>>> {
    prop::collection::vec(prop::collection::vec(record, 0..25), PARTITIONS as usize)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    // Each row once, at its place in the record, beside the bad ones of that record, as without the others.
    #[test]
    fn a_query_gets_of_lists_what_it_would_get_alone(
        log in log_of(record_of_events()),
        first in prop::sample::select(vec![vec![0, 3], vec![1, 3, 4], vec![0, 1, 2, 3, 4, 5]]),
        steps in prop::collection::vec(
            step(vec![vec![0], vec![0, 3], vec![1, 3], vec![2, 4], vec![4], vec![3, 5], vec![0, 1, 2, 3, 4, 5], vec![]]),
            0..120,
        ),
    ) {
        as_alone(events(), log, first, steps)?;
    }

    #[test]
    fn a_query_gets_of_lines_what_it_would_get_alone(
        log in log_of(elements().prop_map(|lines| lines.join("\n"))),
        first in prop::sample::select(vec![vec![0, 3], vec![1, 3], vec![0, 1, 2, 3]]),
        steps in prop::collection::vec(
            step(vec![vec![0], vec![0, 3], vec![1, 3], vec![2, 3], vec![0, 1, 2, 3], vec![]]),
            0..120,
        ),
    ) {
        as_alone(lines(), log, first, steps)?;
    }
}

#[tokio::test]
async fn queries_over_lists_have_one_reader_and_each_judges_by_its_columns() {
    let site = Site::new();
    let element = |id: i64, n: &str| format!(r#"{{"id":{id},"n":{n},"note":"x","ts":{}}}"#, 1_764_169_000_000_i64 + id);
    let record = |elements: &[String]| format!(r#"{{"game":"g","events":[{}]}}"#, elements.join(","));
    let texts = vec![
        record(&[element(0, "1"), element(1, "2")]),
        // Bad in a column, and bad where something is computed of it: each for those alone who read that.
        record(&[element(2, "1"), element(3, "\"many\""), element(4, "0")]),
        record(&[]),
        record(&[element(5, "0")]),
    ];
    site.append(0, &texts);
    let log = [texts, vec![]];
    let columns: [&[usize]; 3] = [&[0, 3, 4], &[1, 3], &[0, 5]];
    let read = |columns: &[usize]| {
        site.try_read(events(), columns, OpenSpec::default(), ReaderLimits::default()).expect("it begins")
    };
    assert!(can_be_shared(&events(), &OpenSpec::default()));
    let mut readers = columns.map(read);
    let expected = [(6, 0, 1), (5, 1, 1), (3, 3, 1)];
    for ((reader, columns), expected) in readers.iter_mut().zip(columns).zip(expected) {
        let got = take(reader, 4).await;
        assert_eq!(got, alone_of(&events(), &log, columns), "{columns:?}");
        let rows = got.rows.get(&0).map_or(0, Vec::len);
        assert_eq!((rows, got.letters, got.empty_records), expected, "{columns:?}");
    }
}
