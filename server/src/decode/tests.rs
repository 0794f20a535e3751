use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType};
use arrow::util::display::array_value_to_string;

use std::collections::BTreeSet;

use super::*;
use crate::catalog::{
    CSV_DELIMITER_DEFAULT, Column, FilesystemPath, KafkaTopic, MetadataKey, Reading, RecordRows, StartAt,
    TimestampFormat, WatermarkDef,
};
use crate::error::{ErrorKind, Location};
use crate::source::{Offset, RecordHeaders};

const MINUTE: Micros = 60_000_000;
/// 2025-11-26T15:13:20Z
const NOW: Micros = 1_764_170_000_000_000;

fn metadata(name: &str, data_type: DataType, key: MetadataKey) -> Column {
    Column {
        name: name.into(),
        data_type,
        nullable: true,
        kind: ColumnKind::Metadata(key),
        timestamps: TimestampFormat::default(),
        reading: Reading::default(),
        checks: vec![],
        comment: None,
    }
}

/// `orders(amount decimal(12,2) not null, ts timestamp(3))` and every metadata column.
fn orders() -> TableDef {
    let header = DataType::Struct(
        vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)].into(),
    );
    TableDef {
        name: "orders".into(),
        columns: vec![
            metadata("topic", DataType::Utf8View, MetadataKey::Topic),
            Column::physical("amount", DataType::Decimal128(12, 2), false),
            metadata("part", DataType::Int32, MetadataKey::Partition),
            Column::physical("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
            metadata("pos", DataType::Int64, MetadataKey::Offset),
            metadata("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), MetadataKey::Timestamp),
            metadata("key", DataType::BinaryView, MetadataKey::Key),
            metadata("headers", DataType::List(Arc::new(Field::new_list_field(header, true))), MetadataKey::Headers),
        ],
        watermark: Some(WatermarkDef {
            column: "ts".into(),
            steps: vec![],
            idle_timeout: None,
            max_future: Duration::from_secs(60),
        }),
        primary_key: vec![],
        connector: Connector::Kafka(KafkaTopic { topic: "orders".into(), brokers: None, start: StartAt::Earliest }),
        format: Format::Json,
        csv_delimiter: CSV_DELIMITER_DEFAULT,
        rows: RecordRows::One,
        on_bad_row: OnBadRow::DeadLetter,
        refresh_interval: None,
        http: None,
        text: String::new(),
        location: Location { file: "schemas/orders.sql".into(), line: 1, column: 1 },
    }
}

fn decoder(def: &TableDef, columns: &[usize]) -> TableDecoder {
    TableDecoder::try_new(def, columns, Clock::manual(NOW)).unwrap()
}

fn record(partition: Partition, offset: Offset, value: &str) -> Record<'_> {
    Record { partition, offset, timestamp_ms: None, key: None, value: Some(value.as_bytes()), headers: None }
}

fn polled(positions: &[(Partition, Offset)], ends: &[(Partition, Offset)]) -> Polled {
    Polled {
        answered: BTreeSet::new(),
        positions: positions.iter().copied().collect(),
        ends: ends.iter().copied().collect(),
        finished: false,
        trouble: None,
    }
}

struct TwoHeaders;

impl RecordHeaders for TwoHeaders {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        each(b"trace", Some(b"\x01"));
        each(b"trace", None);
    }
}

#[test]
fn values_and_metadata_stand_in_the_order_asked_for() {
    let mut decoder = decoder(&orders(), &[0, 1, 2, 3, 4, 5, 6, 7]);
    decoder
        .push(&Record {
            partition: 3,
            offset: 81_204,
            timestamp_ms: Some(1_764_170_000_123),
            key: Some(b"k"),
            value: Some(br#"{"ts":1764170000000,"amount":12.5,"other":1}"#),
            headers: Some(&TwoHeaders),
        })
        .unwrap();
    decoder.push(&record(3, 81_205, r#"{"amount":"1"}"#)).unwrap();
    assert_eq!(decoder.rows(), 2);
    assert!(decoder.bytes() > 0);
    let batch = decoder.finish(&Polled::default()).unwrap();
    assert_eq!((decoder.rows(), decoder.bytes()), (0, 0));
    let [rows] = &batch.batches[..] else { panic!("one batch") };
    assert_eq!(rows.schema(), orders().schema());
    let shown = |row: usize| -> Vec<String> {
        rows.columns().iter().map(|column| array_value_to_string(column, row).unwrap()).collect()
    };
    assert_eq!(
        shown(0),
        [
            "orders",
            "12.50",
            "3",
            "2025-11-26T15:13:20",
            "81204",
            "2025-11-26T15:13:20.123Z",
            "6b",
            "[{key: trace, value: 01}, {key: trace, value: }]"
        ]
    );
    assert_eq!(shown(1), ["orders", "1.00", "3", "", "81205", "", "", "[]"]);
}

#[test]
fn a_partition_can_have_a_name_of_its_own() {
    let mut def = orders();
    def.connector = Connector::Filesystem(FilesystemPath { path: "data".into() });
    def.on_bad_row = OnBadRow::Fail;
    let mut decoder = decoder(&def, &[0, 1]);
    decoder.name_partition(1, "data/b.ndjson");
    decoder.push(&record(0, 0, r#"{"amount":1}"#)).unwrap();
    decoder.push(&record(1, 0, r#"{"amount":1}"#)).unwrap();
    let error = decoder.push(&record(1, 7, "{}")).unwrap_err();
    assert_eq!(
        error.report(),
        "cannot decode row from file \"data/b.ndjson\", record 7\n  detail: field \"amount\" is missing; the schema says \
         not null\n  hint: fix the producer, or set 'on-bad-row' = 'dead-letter' in schemas/orders.sql to keep going"
    );
    let batch = decoder.finish(&Polled::default()).unwrap();
    let topics: Vec<_> = batch.batches[0].column(0).as_string_view().iter().flatten().collect();
    assert_eq!(topics, ["data", "data/b.ndjson"]);
}

#[test]
fn a_bad_record_becomes_a_dead_letter_with_all_it_came_with() {
    let mut decoder = decoder(&orders(), &[1]);
    decoder
        .push(&Record {
            partition: 3,
            offset: 10,
            timestamp_ms: Some(5),
            key: Some(b"k"),
            value: Some(br#"{"amount":"12,5"}"#),
            headers: None,
        })
        .unwrap();
    decoder.push(&record(3, 11, r#"{"amount":1}"#)).unwrap();
    decoder.push(&Record { value: None, ..record(3, 12, "") }).unwrap();
    decoder.push(&record(3, 13, "\u{0}")).unwrap();
    let batch = decoder.finish(&Polled::default()).unwrap();
    assert_eq!(batch.batches[0].num_rows(), 1);
    let letter = |offset, key: Option<&[u8]>, value: Option<&[u8]>, column: Option<&str>, reason: &str| DeadLetter {
        topic: Some("orders".into()),
        partition: Some(3),
        offset: Some(offset),
        position: None,
        timestamp_ms: key.map(|_| 5),
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        column: column.map(str::to_owned),
        reason: reason.into(),
    };
    assert_eq!(
        batch.dead_letters,
        [
            letter(
                10,
                Some(b"k"),
                Some(br#"{"amount":"12,5"}"#),
                Some("amount"),
                r#"field "amount" is "12,5"; the schema says decimal(12,2)"#
            ),
            letter(12, None, None, None, "value is null (tombstone)"),
            letter(13, None, Some(b"\0"), None, "the record is not valid JSON at byte 0: expected a value"),
        ]
    );
    assert_eq!(
        batch.progress[&3],
        Progress { from: 10, to: 14, records: 4, event_time_max: None, far_future: 0, end: None }
    );
}

#[test]
fn metadata_that_is_not_null_must_be_there() {
    let mut def = orders();
    def.columns[6].nullable = false;
    let mut decoder = decoder(&def, &[1, 6]);
    decoder.push(&record(0, 0, r#"{"amount":1}"#)).unwrap();
    decoder.push(&Record { key: Some(b""), ..record(0, 1, r#"{"amount":2}"#) }).unwrap();
    let batch = decoder.finish(&Polled::default()).unwrap();
    assert_eq!(batch.batches[0].num_rows(), 1);
    assert_eq!(batch.dead_letters[0].column.as_deref(), Some("key"));
    assert_eq!(
        batch.dead_letters[0].reason,
        "field \"key\" is missing in the record's metadata; the schema says not null"
    );
}

#[test]
fn on_bad_row_fail_stops_at_the_first() {
    let mut def = orders();
    def.on_bad_row = OnBadRow::Fail;
    let mut decoder = decoder(&def, &[1]);
    let error = decoder.push(&record(3, 81_204, r#"{"amount":"12,5"}"#)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        error.report(),
        "cannot decode row from topic \"orders\", partition 3, offset 81204\n  detail: field \"amount\" is \"12,5\"; the \
         schema says decimal(12,2)\n  hint: fix the producer, or set 'on-bad-row' = 'dead-letter' in schemas/orders.sql \
         to keep going"
    );
}

#[test]
fn ranges_join_without_a_gap() {
    let mut decoder = decoder(&orders(), &[1]);
    decoder.start_at(&[(0, 5), (1, 0), (2, 9)].into());
    decoder.push(&record(0, 7, r#"{"amount":1}"#)).unwrap();
    decoder.push(&record(0, 8, r#"{"amount":1}"#)).unwrap();
    // Partition 0 ends in control records, 1 holds nothing else, 2 stands still, 3 is seen for the first time.
    let batch = decoder.finish(&polled(&[(0, 10), (1, 4), (2, 9), (3, 100)], &[(0, 12), (1, 4), (2, 9)])).unwrap();
    let quiet = Progress { from: 0, to: 4, records: 0, event_time_max: None, far_future: 0, end: Some(4) };
    let busy = Progress { from: 5, to: 10, records: 2, event_time_max: None, far_future: 0, end: Some(12) };
    assert_eq!(batch.progress, [(0, busy), (1, quiet)].into());
    assert!(!batch.finished);

    decoder.push(&record(3, 103, r#"{"amount":1}"#)).unwrap();
    decoder.push(&record(0, 10, r#"{"amount":1}"#)).unwrap();
    let batch = decoder.finish(&Polled { finished: true, ..Polled::default() }).unwrap();
    let ranges: Vec<_> = batch.progress.iter().map(|(at, progress)| (*at, progress.from, progress.to)).collect();
    assert_eq!(ranges, [(0, 10, 11), (3, 100, 104)]);
    assert!(batch.finished);

    let batch = decoder.finish(&Polled::default()).unwrap();
    assert!(batch.progress.is_empty() && batch.batches.is_empty());
}

#[test]
fn event_times_are_per_partition_and_count_only_up_to_a_bound() {
    let mut decoder = decoder(&orders(), &[1, 3]);
    let row = |ms: i64| format!("{{\"amount\":1,\"ts\":{ms}}}");
    let now_ms = NOW / 1_000;
    for (partition, offset, ms) in [
        (0, 0, now_ms - 10),
        (1, 0, now_ms + 59_999),
        (0, 1, now_ms - 5),
        (0, 2, now_ms - 7),
        (1, 1, now_ms + 60_001),
        (1, 2, 253_402_300_799_999),
        (2, 0, -62_135_596_800_000),
    ] {
        decoder.push(&record(partition, offset, &row(ms))).unwrap();
    }
    decoder.push(&record(3, 0, r#"{"amount":1,"ts":null}"#)).unwrap();
    let batch = decoder.finish(&Polled::default()).unwrap();
    let seen: Vec<_> = batch.progress.values().map(|progress| (progress.event_time_max, progress.far_future)).collect();
    assert_eq!(
        seen,
        [(Some(NOW - 5_000), 0), (Some(NOW + 59_999_000), 2), (Some(-62_135_596_800_000_000), 0), (None, 0)]
    );
    // The rows are there all the same, with the time they said.
    let times = batch.batches[0].column(1).as_primitive::<TimestampMillisecondType>();
    assert_eq!(times.value(5), 253_402_300_799_999);
}

#[test]
fn a_time_beyond_the_range_is_a_dead_letter_and_moves_nothing() {
    let mut decoder = decoder(&orders(), &[1, 3]);
    for (offset, ts) in ["1700000000000000000", "-9223372036854775808", "\"0000-01-01T00:00:00Z\""].iter().enumerate() {
        decoder.push(&record(0, offset as i64, &format!("{{\"amount\":1,\"ts\":{ts}}}"))).unwrap();
    }
    let batch = decoder.finish(&Polled::default()).unwrap();
    assert!(batch.batches.is_empty());
    assert!(batch.dead_letters.iter().all(|letter| letter.reason.contains("outside the years 1 to 9999")));
    assert_eq!(batch.dead_letters.len(), 3);
    assert_eq!((batch.progress[&0].event_time_max, batch.progress[&0].far_future), (None, 0));

    // A producer may say anything of its record's time.
    let mut decoder = self::decoder(&orders(), &[1, 5]);
    decoder.push(&Record { timestamp_ms: Some(i64::MAX), ..record(0, 3, r#"{"amount":1}"#) }).unwrap();
    let batch = decoder.finish(&Polled::default()).unwrap();
    assert_eq!(batch.dead_letters[0].column.as_deref(), Some("at"));
    assert_eq!(
        batch.dead_letters[0].reason,
        "the record's metadata says timestamp 9223372036854775807, which as epoch-ms lies outside the years 1 to 9999; \
         field \"at\" cannot hold it"
    );
}

#[test]
fn what_a_column_reads_does_not_depend_on_the_columns_beside_it() {
    let mut def = orders();
    def.columns.push(Column::physical("orderid", DataType::Utf8View, true));
    def.columns.push(Column::physical("orderId", DataType::Utf8View, true));
    let text = r#"{"amount":1,"orderId":"a"}"#;
    for columns in [&[8][..], &[8, 9]] {
        let mut decoder = decoder(&def, columns);
        decoder.push(&record(0, 0, text)).unwrap();
        let batch = decoder.finish(&Polled::default()).unwrap();
        assert!(batch.batches[0].column(0).as_string_view().iter().all(|text| text.is_none()));
    }
}

#[test]
fn event_times_of_every_unit_are_microseconds_rounded_down() {
    for (unit, expected) in [
        (TimeUnit::Second, 1_000_000),
        (TimeUnit::Millisecond, 1_234_000),
        (TimeUnit::Microsecond, 1_234_567),
        (TimeUnit::Nanosecond, 1_234_567),
    ] {
        let mut def = orders();
        def.columns[3].data_type = DataType::Timestamp(unit, Some("UTC".into()));
        let mut decoder = decoder(&def, &[3]);
        decoder.push(&record(0, 0, r#"{"ts":"1970-01-01T00:00:01.234567999Z"}"#)).unwrap();
        decoder.push(&record(0, 1, r#"{"ts":"2025-11-26T15:14:20.000000999Z"}"#)).unwrap();
        decoder.push(&record(1, 0, r#"{"ts":"1970-01-01T00:00:01.234567999Z"}"#)).unwrap();
        decoder.push(&record(2, 0, r#"{"ts":"2025-11-26T15:14:21Z"}"#)).unwrap();
        let batch = decoder.finish(&Polled::default()).unwrap();
        let seen: Vec<_> =
            batch.progress.values().map(|progress| (progress.event_time_max, progress.far_future)).collect();
        assert_eq!(seen, [(Some(NOW + MINUTE), 0), (Some(expected), 0), (None, 1)], "{unit:?}");
    }
}

#[test]
fn a_large_poll_is_cut_into_batches_and_keeps_its_order() {
    let mut decoder = decoder(&orders(), &[1, 2, 3, 4]);
    let rows = 2 * BATCH_ROWS_MAX + 3;
    for at in 0..rows as i64 {
        let value = format!("{{\"amount\":{at},\"ts\":{at}}}");
        decoder.push(&record((at % 3) as i32, at, &value)).unwrap();
    }
    assert_eq!(decoder.rows(), rows);
    let batch = decoder.finish(&Polled::default()).unwrap();
    let sizes: Vec<_> = batch.batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(sizes, [BATCH_ROWS_MAX, BATCH_ROWS_MAX, 3]);
    let mut at = 0;
    for rows in &batch.batches {
        let partitions = rows.column(1).as_primitive::<Int32Type>();
        let offsets = rows.column(3).as_primitive::<Int64Type>();
        for row in 0..rows.num_rows() {
            assert_eq!((partitions.value(row), offsets.value(row)), ((at % 3) as i32, at));
            at += 1;
        }
    }
    let latest: Vec<_> = batch.progress.values().filter_map(|progress| progress.event_time_max).collect();
    assert_eq!(latest, [(rows as i64 - 2) * 1_000, (rows as i64 - 1) * 1_000, (rows as i64 - 3) * 1_000]);
}

#[test]
fn large_rows_make_small_batches() {
    let mut def = orders();
    def.columns.push(Column::physical("blob", DataType::Utf8View, true));
    let mut decoder = decoder(&def, &[8]);
    let value = format!("{{\"blob\":\"{}\"}}", "x".repeat(BATCH_BYTES_MAX / 8));
    for offset in 0..17 {
        decoder.push(&record(0, offset, &value)).unwrap();
    }
    assert!(decoder.bytes() > 2 * BATCH_BYTES_MAX);
    let batch = decoder.finish(&Polled::default()).unwrap();
    let sizes: Vec<_> = batch.batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(sizes, [8, 8, 1]);
}

#[test]
fn what_cannot_be_decoded_is_refused_when_the_table_is_opened() {
    let refusal = |def: &TableDef, columns: &[usize]| {
        TableDecoder::try_new(def, columns, Clock::manual(NOW)).map(|_| ()).unwrap_err().report()
    };
    let mut def = orders();
    def.columns[2].data_type = DataType::Utf8;
    assert_eq!(
        refusal(&def, &[2]),
        "schemas/orders.sql:1:1: metadata column \"part\" cannot be of type Utf8\n  hint: declare it as INT"
    );
    def.columns[1].data_type = DataType::Duration(TimeUnit::Second);
    assert_eq!(
        refusal(&def, &[1]),
        "schemas/orders.sql:1:1: column \"amount\" has type Duration(s), which JSON values are not decoded to"
    );
    def.format = Format::Csv;
    assert_eq!(refusal(&def, &[]), "schemas/orders.sql:1:1: table \"orders\" is not declared with 'format' = 'json'");
}
