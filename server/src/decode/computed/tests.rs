use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;

use crate::catalog::{OnBadRow, Statement, TableDef};
use crate::clock::Clock;
use crate::decode::TableDecoder;
use crate::source::{Offset, Partition, Polled, Record, SourceBatch};
use crate::sql::{parse_file, report};

/// 2025-11-26T15:13:20Z
const NOW: i64 = 1_764_170_000_000_000;

fn table(columns: &str) -> TableDef {
    table_with(columns, "'format' = 'json'")
}

fn table_with(columns: &str, options: &str) -> TableDef {
    let text = format!("CREATE TABLE t (\n{columns}\n) WITH ('connector' = 'kafka', 'topic' = 'orders', {options})");
    let statements = parse_file("t.sql", &text).unwrap_or_else(|errors| panic!("{}", report(&errors)));
    match statements.into_iter().next() {
        Some(Statement::CreateTable(table)) => table,
        other => panic!("not a table: {other:?}"),
    }
}

/// A decoder for the columns of these names, which stand in the table's order.
fn decoder(table: &TableDef, names: &[&str]) -> TableDecoder {
    let columns: Vec<usize> = names.iter().map(|name| table.column_index(name).expect(name)).collect();
    TableDecoder::try_new(table, &columns, Clock::manual(NOW)).expect("a decoder")
}

fn record(partition: Partition, offset: Offset, value: &str) -> Record<'_> {
    Record { partition, offset, timestamp_ms: Some(7), key: Some(b"k"), value: Some(value.as_bytes()), headers: None }
}

fn decoded(table: &TableDef, names: &[&str], records: &[&str]) -> SourceBatch {
    let mut decoder = decoder(table, names);
    for (offset, value) in (0..).zip(records) {
        decoder.push(&record(0, offset, value)).expect("the record is taken or put aside");
    }
    decoder.finish(&Polled::default()).expect("a batch")
}

fn rows(batch: &SourceBatch) -> Vec<String> {
    let cells = |batch: &arrow::array::RecordBatch, row: usize| -> Vec<String> {
        batch.columns().iter().map(|column| array_value_to_string(column, row).expect("a value")).collect()
    };
    batch.batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| cells(batch, row).join(" "))).collect()
}

fn reasons(batch: &SourceBatch) -> Vec<(i64, &str, &str)> {
    let letters = batch.dead_letters.iter();
    letters
        .map(|letter| (letter.offset.unwrap(), letter.column.as_deref().unwrap_or("-"), letter.reason.as_str()))
        .collect()
}

#[test]
fn what_a_column_is_computed_from_is_decoded_and_nothing_else() {
    let table = table(
        "day AS CAST(ts AS DATE), t BIGINT NOT NULL, price DOUBLE NOT NULL, ts AS to_timestamp_millis(t), twice AS price * 2,
         at AS to_timestamp_seconds(record), record BIGINT METADATA FROM 'offset', name VARCHAR, who AS coalesce(upper(name), 'nobody')",
    );
    let records =
        [r#"{"t":1700000000000,"price":"not read","name":"ann"}"#, r#"{"t":86400000}"#, r#"{"name":"no time"}"#];
    let batch = decoded(&table, &["day", "ts", "at", "record", "who"], &records);
    assert_eq!(
        rows(&batch),
        [
            "2023-11-14 2023-11-14T22:13:20 1970-01-01T00:00:00 0 ANN",
            "1970-01-02 1970-01-02T00:00:00 1970-01-01T00:00:01 1 nobody"
        ]
    );
    assert_eq!(reasons(&batch), [(2, "t", "field \"t\" is missing; the schema says not null")]);
    // In any order of the columns, alone, and beside what is decoded.
    assert_eq!(rows(&decoded(&table, &["twice"], &[r#"{"price":1.5}"#])), ["3.0"]);
    assert_eq!(
        rows(&decoded(&table, &["day", "t", "ts"], &records[..1])),
        ["2023-11-14 1700000000000 2023-11-14T22:13:20"]
    );
    let constant = self::table("a INT, one AS 1");
    assert_eq!(rows(&decoded(&constant, &["one"], &["{}", "{}"])), ["1", "1"]);
}

#[test]
fn a_record_that_an_expression_cannot_take_is_kept_whole_and_the_others_go_on() {
    let table =
        table("a BIGINT, b BIGINT,\n  q AS a / b,\n ts AS CAST(s AS TIMESTAMP(3)), s VARCHAR, WATERMARK FOR ts AS ts");
    let mut decoder = decoder(&table, &["a", "q", "ts"]);
    let good = |a: u32| format!(r#"{{"a":{a},"b":2,"s":"2025-11-26T15:13:{a:02}"}}"#);
    let values = [
        good(2),
        r#"{"a":1,"b":0}"#.to_owned(),
        good(4),
        r#"{"a":3,"b":1,"s":"never"}"#.to_owned(),
        good(59),
        "{".to_owned(),
    ];
    for (at, value) in (0i64..).zip(&values) {
        decoder.push(&record((at % 2) as Partition, 10 + at, value)).unwrap();
    }
    let batch = decoder.finish(&Polled::default()).unwrap();
    let seconds = ["2 1 2025-11-26T15:13:02", "4 2 2025-11-26T15:13:04", "59 29 2025-11-26T15:13:59"];
    assert_eq!(rows(&batch), seconds);
    let found = reasons(&batch);
    let [(15, "-", _), computed @ ..] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        computed,
        [
            (11, "q", "t.sql:3:8: column \"q\" cannot be computed: division by zero in \"a / b\" (1 / 0)"),
            (13, "ts", "t.sql:4:13: column \"ts\" cannot be computed: \"CAST(s AS TIMESTAMP(3))\" cannot take 'never'"),
        ]
    );
    let letter = &batch.dead_letters[1];
    assert_eq!((letter.key.as_deref(), letter.timestamp_ms, letter.partition), (Some(&b"k"[..]), Some(7), Some(1)));
    assert_eq!(letter.value.as_deref(), Some(values[1].as_bytes()));
    // Where the rows were read, and how far the partitions have got, in offsets and in time.
    let places: Vec<_> = (0..3).map(|row| batch.origins[0].of(row).unwrap()).collect();
    assert_eq!(places, [(0, 10, 0), (0, 12, 0), (0, 14, 0)]);
    let progress = |partition: Partition| batch.progress[&partition];
    assert_eq!((progress(0).to, progress(0).records, progress(1).to, progress(1).records), (15, 3, 16, 3));
    assert_eq!(progress(0).event_time_max, Some(NOW + 39_000_000));
    assert_eq!((progress(1).event_time_max, decoder.rows(), decoder.bytes()), (None, 0, 0));
}

#[test]
fn with_fail_the_record_stops_the_query() {
    let mut table = table("a BIGINT, b BIGINT, q AS a / b");
    table.on_bad_row = OnBadRow::Fail;
    let mut decoder = decoder(&table, &["q"]);
    decoder.push(&record(3, 8, r#"{"a":1,"b":1}"#)).unwrap();
    decoder.push(&record(3, 9, r#"{"a":1,"b":0}"#)).unwrap();
    let error = decoder.finish(&Polled::default()).expect_err("it fails").report();
    assert!(
        error.starts_with(
            "cannot decode row from topic \"orders\", partition 3, offset 9\n  detail: t.sql:2:26: column \"q\""
        ),
        "{error}"
    );
}

#[test]
fn a_row_is_judged_by_itself_in_the_order_of_the_text() {
    let table = table("a BIGINT, b BIGINT, big AS b <> 0 AND a / b > 1, q AS CASE WHEN b = 0 THEN NULL ELSE a / b END");
    let records = [r#"{"a":6,"b":2}"#, r#"{"a":6,"b":0}"#, r#"{"a":6,"b":6}"#, r#"{"a":6}"#];
    let batch = decoded(&table, &["big", "q"], &records);
    assert_eq!(rows(&batch), ["true 3", "false ", "false 1", " "]);
    assert!(batch.dead_letters.is_empty());
}

#[test]
fn values_are_held_to_the_range_and_the_rules_of_their_column() {
    let table = table(
        "t BIGINT, ts AS to_timestamp_millis(t),
         ms TIMESTAMP(3) GENERATED ALWAYS AS (to_timestamp_millis(t)) NOT NULL,
         half BIGINT GENERATED ALWAYS AS (t / 2) CHECK (half BETWEEN 0 AND 1000000000000),
         short VARCHAR(3) GENERATED ALWAYS AS (CAST(t AS VARCHAR))",
    );
    let batch = decoded(
        &table,
        &["ts"],
        &[r#"{"t":253402300800000}"#, r#"{"t":-62135596800001}"#, r#"{"t":253402300799999}"#, "{}"],
    );
    assert_eq!(rows(&batch), ["9999-12-31T23:59:59.999", ""]);
    assert_eq!(
        reasons(&batch)[0],
        (
            0,
            "ts",
            "column \"ts\" is computed as 253402300800000, outside the years 1 to 9999; the schema says timestamp(3)"
        )
    );
    assert_eq!(reasons(&batch).len(), 2);
    let batch = decoded(&table, &["ms", "half"], &["{}", r#"{"t":-4}"#, r#"{"t":2}"#]);
    assert_eq!(rows(&batch), ["1970-01-01T00:00:00.002 1"]);
    assert_eq!(
        reasons(&batch),
        [
            (0, "ms", "column \"ms\" is computed as NULL; the schema says NOT NULL"),
            (1, "half", "field \"half\" is -2; the schema says between 0 and 1000000000000"),
        ]
    );
    let batch = decoded(&table, &["short"], &[r#"{"t":123}"#, r#"{"t":1234}"#]);
    assert_eq!((rows(&batch), reasons(&batch).len()), (vec!["123".to_owned()], 1));
    let table = self::table("s VARCHAR, j JSON GENERATED ALWAYS AS (s)");
    let batch = decoded(&table, &["j"], &[r#"{"s":"[1, {}]"}"#, r#"{"s":"[1"}"#, "{}"]);
    assert_eq!(rows(&batch), ["[1, {}]", ""]);
    assert_eq!(reasons(&batch), [(1, "j", r#"field "j" is "[1"; the schema says json"#)]);
}

#[test]
fn a_time_of_the_far_future_moves_no_watermark() {
    let mut decoder = decoder(&table("t BIGINT, ts AS to_timestamp_millis(t), WATERMARK FOR ts AS ts"), &["ts"]);
    let near = NOW / 1_000 + 60_000;
    for (offset, t) in [(0, NOW / 1_000), (1, near), (2, near * 2)] {
        decoder.push(&record(0, offset, &format!(r#"{{"t":{t}}}"#))).unwrap();
    }
    let progress = decoder.finish(&Polled::default()).unwrap().progress[&0];
    assert_eq!((progress.event_time_max, progress.far_future), (Some(NOW + 60_000_000), 1));
}

#[test]
fn a_batch_of_bad_records_alone_has_no_rows() {
    let table = table("a BIGINT, q AS 1 / a, n AS upper(s), s VARCHAR");
    let batch = decoded(&table, &["a", "q", "n"], &[r#"{"a":0}"#; 5]);
    assert_eq!((batch.batches.len(), batch.origins.len()), (0, 0));
    assert_eq!((batch.dead_letters.len(), batch.progress[&0].to), (5, 5));
}

/// Two rows a record and more: each column that is computed reads what is the record's and what is the row's.
fn several() -> TableDef {
    table_with(
        "base BIGINT, n BIGINT NOT NULL, q AS base / n, pos AS k * 10, k BIGINT METADATA FROM 'offset'",
        "'json.rows' = '$.e[*]', 'json.path.base' = '$.base'",
    )
}

#[test]
fn a_row_of_several_that_cannot_be_computed_is_a_dead_letter_and_the_others_of_its_record_go_on() {
    let mut decoder = decoder(&several(), &["n", "q", "pos"]);
    let texts = [
        r#"{"base":12,"e":[{"n":3},{"n":0},{"n":"x"},{"n":4}]}"#,
        r#"{"base":7,"e":[{"n":0}]}"#,
        r#"{"base":8,"e":[]}"#,
        r#"{"base":9,"e":[{"n":9},{"n":1}]}"#,
    ];
    for (offset, text) in (20..).zip(texts) {
        decoder.push(&record(1, offset, text)).unwrap();
    }
    let batch = decoder.finish(&Polled::default()).unwrap();
    assert_eq!(rows(&batch), ["3 4 200", "4 3 200", "9 1 230", "1 9 230"]);
    let places: Vec<_> = (0..4).map(|row| batch.origins[0].of(row).unwrap()).collect();
    assert_eq!(places, [(1, 20, 0), (1, 20, 3), (1, 23, 0), (1, 23, 1)]);
    let cannot = "t.sql:2:38: column \"q\" cannot be computed: division by zero in \"base / n\"";
    assert_eq!(
        reasons(&batch),
        [
            (20, "n", r#"$.e[2]: field "n" is "x"; the schema says bigint"#),
            (20, "q", format!("$.e[1]: {cannot} (12 / 0)").as_str()),
            (21, "q", format!("$.e[0]: {cannot} (7 / 0)").as_str()),
        ]
    );
    let positions: Vec<_> = batch.dead_letters.iter().map(|letter| letter.position).collect();
    assert_eq!(positions, [Some(2), Some(1), Some(0)]);
    assert_eq!(batch.dead_letters[1].value.as_deref(), Some(texts[0].as_bytes()));
    assert_eq!(batch.dead_letters[1].key.as_deref(), Some(&b"k"[..]));
    // Each record counts with its rows and letters, or as an empty one.
    assert_eq!((batch.progress[&1].records, batch.extra_rows, batch.empty_records), (4, 4, 1));
    assert_eq!((decoder.rows(), decoder.bytes()), (0, 0));
}

#[test]
fn many_rows_of_a_record_that_cannot_be_computed_share_a_letter_wherever_batches_end() {
    let count = 2_000;
    let text = format!("{{\"base\":1,\"e\":[{{\"n\":1}}{}]}}", ",{\"n\":0}".repeat(count));
    // A batch has at most 65,536 rows.
    for before in [0, 1, 64_500, 65_500] {
        let mut decoder = decoder(&several(), &["q"]);
        for offset in 0..before {
            decoder.push(&record(0, offset, r#"{"base":1,"e":[{"n":1}]}"#)).unwrap();
        }
        decoder.push(&record(0, before, &text)).unwrap();
        let batch = decoder.finish(&Polled::default()).unwrap();
        assert_eq!(rows(&batch).len(), before as usize + 1);
        assert_eq!((batch.dead_letters.len(), batch.extra_rows), (101, 101), "{before}");
        assert_eq!(batch.dead_letters[0].value.as_deref(), Some(text.as_bytes()));
        let last = &batch.dead_letters[100];
        assert_eq!((last.position, last.value.as_deref()), (Some(101), Some(&b"{\"n\":0}"[..])));
        let more = format!("; and {} more rows behind it are bad", count - 101);
        assert!(last.reason.starts_with("$.e[101]: ") && last.reason.ends_with(&more), "{}", last.reason);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_a_bad_record_does_not_depend_on_those_beside_it(
        values in prop::collection::vec((0_i64..4, -3_i64..4, prop_oneof![Just("12"), Just("x"), Just("")]), 1..60),
        cuts in prop::collection::vec(1_usize..20, 0..6),
    ) {
        let table = table(
            "a BIGINT, b BIGINT, s VARCHAR, q AS 12 / b, n AS CAST(s AS BIGINT) + q, ok AS b > 0 AND 12 / a > 1",
        );
        let texts: Vec<String> = values.iter().map(|(a, b, s)| format!(r#"{{"a":{a},"b":{b},"s":"{s}"}}"#)).collect();
        let in_batches = |cuts: &[usize]| {
            let mut decoder = decoder(&table, &["a", "n", "ok"]);
            let (mut found, mut dead) = (Vec::new(), Vec::new());
            let (mut cuts, mut left) = (cuts.iter(), 0);
            for (offset, text) in (0..).zip(&texts) {
                decoder.push(&record(0, offset, text)).unwrap();
                if left == 0 {
                    let batch = decoder.finish(&Polled::default()).unwrap();
                    found.extend(rows(&batch));
                    dead.extend(reasons(&batch).into_iter().map(|(offset, column, reason)| (offset, column.to_owned(), reason.to_owned())));
                    left = cuts.next().copied().unwrap_or(usize::MAX);
                }
                left -= 1;
            }
            let batch = decoder.finish(&Polled::default()).unwrap();
            found.extend(rows(&batch));
            dead.extend(reasons(&batch).into_iter().map(|(offset, column, reason)| (offset, column.to_owned(), reason.to_owned())));
            (found, dead)
        };
        let alone = in_batches(&vec![1; texts.len()]);
        prop_assert_eq!(alone.0.len() + alone.1.len(), texts.len());
        prop_assert_eq!(&in_batches(&[]), &alone);
        prop_assert_eq!(&in_batches(&cuts), &alone);
        // Said once more by hand: which rows there must be.
        let right = values.iter().filter(|(a, b, s)| *b != 0 && *s == "12" && (*b <= 0 || *a != 0)).count();
        prop_assert_eq!(alone.0.len(), right);
        let counts = decoded(&table, &["a"], &texts.iter().map(String::as_str).collect::<Vec<_>>());
        let a: Vec<i64> = counts.batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        prop_assert_eq!(a.len(), texts.len());
    }
}
