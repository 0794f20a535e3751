//! Files in, rows and dead letters out.

use std::path::Path;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit};
use arrow::util::pretty::pretty_format_batches;

use std::sync::Arc;

use super::*;
use crate::catalog::TimestampFormat;
use crate::catalog::{
    CSV_DELIMITER_DEFAULT, Check, Column, ColumnKind, Constants, FilesystemPath, MetadataKey, OnBadRow, RecordRows,
    Relation, WatermarkDef,
};
use crate::error::{ErrorKind, Location};
use crate::source::{DeadLetter, Origins, PollLimits, Polled, Source};

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).unwrap();
}

fn read_lines(source: &mut NdjsonSource, records_max: usize) -> (Vec<(Partition, Offset, String)>, Polled) {
    let mut lines = Vec::new();
    let limits = PollLimits { records_max, bytes_max: usize::MAX, wait: Duration::ZERO };
    let polled = source
        .poll(limits, &mut |record| {
            let text = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            lines.push((record.partition, record.offset, text));
        })
        .unwrap();
    (lines, polled)
}

fn line(partition: Partition, offset: Offset, text: &str) -> (Partition, Offset, String) {
    (partition, offset, text.to_owned())
}

#[test]
fn a_folder_is_read_file_by_file_in_name_order_and_blank_lines_have_no_number() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "b.ndjson", "\u{feff}3\r\n\n  \n4");
    write(dir.path(), "a.ndjson", "1\n2\n");
    write(dir.path(), "empty.ndjson", "");
    write(dir.path(), ".hidden", "x\n");
    write(dir.path(), "_SUCCESS", "x\n");
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    let mut source = NdjsonSource::open(dir.path(), &Offsets::new()).unwrap();
    let (lines, polled) = read_lines(&mut source, 100);
    assert_eq!(lines, [line(0, 0, "1"), line(0, 1, "2"), line(1, 0, "3"), line(1, 1, "4")]);
    assert!(polled.finished);
    assert_eq!(polled.positions, Offsets::from([(0, 2), (1, 2), (2, 0)]));
    assert_eq!(polled.ends, polled.positions);
}

#[test]
fn reading_resumes_by_record_number() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a", "1\n\n2\n3\n");
    write(dir.path(), "b", "4\n5\n");
    let mut source = NdjsonSource::open(dir.path(), &Offsets::from([(0, 2), (1, 1)])).unwrap();
    let (lines, polled) = read_lines(&mut source, 1);
    assert_eq!(lines, [line(0, 2, "3")]);
    // The end is known only when it has been seen: such a file still holds more, as far as we know.
    assert!(!polled.finished && polled.ends[&0] > polled.positions[&0]);
    assert_eq!(read_lines(&mut source, 9).0, [line(1, 1, "5")]);
}

#[test]
fn lines_longer_than_the_buffer_come_whole_and_too_long_ones_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(3 << 20);
    write(dir.path(), "a", &format!("1\n{long}\n2\n"));
    let mut source = NdjsonSource::open(&dir.path().join("a"), &Offsets::new()).unwrap();
    assert_eq!(read_lines(&mut source, 9).0, [line(0, 0, "1"), line(0, 1, &long), line(0, 2, "2")]);

    write(dir.path(), "b", &"x".repeat(RECORD_BYTES_MAX + 1));
    let mut source = NdjsonSource::open(&dir.path().join("b"), &Offsets::new()).unwrap();
    let limits = PollLimits { records_max: 1, bytes_max: 1, wait: Duration::ZERO };
    let error = source.poll(limits, &mut |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.primary().starts_with("record 0 of "), "{error:?}");
}

#[test]
fn a_path_that_does_not_exist_is_named() {
    let error = list_files(Path::new("/no/such/path")).unwrap_err();
    assert_eq!((error.kind(), error.primary()), (ErrorKind::Invalid, "no such file or folder: /no/such/path"));
}

/// `id BIGINT NOT NULL, name VARCHAR, ts TIMESTAMP(3), number BIGINT METADATA FROM 'offset'`, watermark on ts.
fn table(path: &Path, format: Format, on_bad_row: OnBadRow) -> TableDef {
    TableDef {
        name: "t".into(),
        columns: vec![
            Column::physical("id", DataType::Int64, false),
            Column::physical("name", DataType::Utf8View, true),
            Column::physical("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
            Column {
                kind: ColumnKind::Metadata(MetadataKey::Offset),
                ..Column::physical("number", DataType::Int64, false)
            },
        ],
        watermark: Some(WatermarkDef {
            column: "ts".into(),
            steps: vec![],
            idle_timeout: None,
            max_future: Duration::from_secs(3600),
        }),
        primary_key: vec![],
        connector: Connector::Filesystem(FilesystemPath { path: path.display().to_string() }),
        format,
        csv_delimiter: CSV_DELIMITER_DEFAULT,
        rows: RecordRows::One,
        on_bad_row,
        refresh_interval: None,
        http: None,
        text: String::new(),
        location: Location { file: "t.sql".into(), line: 1, column: 1 },
    }
}

/// 2020-01-01T12:00:00Z
const NOON: i64 = 1_577_880_000_000_000;

struct Read {
    batches: Vec<RecordBatch>,
    /// The record of each row.
    records: Vec<i64>,
    dead: Vec<DeadLetter>,
    last: SourceBatch,
    largest: usize,
}

fn read(def: &TableDef, columns: &[usize], resume: &Offsets, rows_max: usize) -> Result<Read> {
    let mut reader = open_batches(def, columns, resume, Clock::manual(NOON))?;
    let mut read = Read { batches: vec![], records: vec![], dead: vec![], last: SourceBatch::default(), largest: 0 };
    let mut at = reader.positions();
    loop {
        let batch = reader.next(rows_max)?;
        for (partition, progress) in &batch.progress {
            assert_eq!(progress.from, at[partition], "ranges join without a gap");
            at.insert(*partition, progress.to);
        }
        read.largest = read.largest.max(batch.batches.iter().map(RecordBatch::num_rows).sum::<usize>());
        let rows = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>();
        assert_eq!(batch.origins.iter().map(Origins::len).collect::<Vec<_>>(), rows(&batch.batches));
        for origins in &batch.origins {
            read.records.extend((0..origins.len()).map(|row| origins.of(row).unwrap().1));
        }
        read.batches.extend(batch.batches.iter().cloned());
        read.dead.extend(batch.dead_letters.iter().cloned());
        let finished = batch.finished;
        if batch.progress.values().any(|progress| progress.records > 0) || read.last.progress.is_empty() {
            read.last = batch;
        }
        if finished {
            return Ok(read);
        }
    }
}

fn shown(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).unwrap().to_string()
}

const CSV: &str = "ts,unused,name,id\n\
    2020-01-01T10:00:00,a,\"one, \"\"quoted\"\"\",1\n\
    2020-01-01T10:00:01,b,\"two\nlines\",2\n\
    \n\
    ,c,,3\n\
    2020-01-01T23:00:00,d,far,4";

#[test]
fn csv_columns_are_found_by_name_and_quotes_may_hold_anything() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.csv", CSV);
    for rows_max in [1, 2, 100] {
        let def = table(&dir.path().join("a.csv"), Format::Csv, OnBadRow::Fail);
        let read = read(&def, &[0, 1, 3], &Offsets::new(), rows_max).unwrap();
        assert!(read.largest <= rows_max);
        let batch = arrow::compute::concat_batches(&read.batches[0].schema(), &read.batches).unwrap();
        assert_eq!(batch.schema().field(1).data_type(), &DataType::Utf8View);
        let names = batch.column(1).as_string_view().iter().map(|name| name.map(str::to_owned)).collect::<Vec<_>>();
        let expected = [Some("one, \"quoted\""), Some("two\nlines"), None, Some("far")];
        assert_eq!(names, expected.map(|name| name.map(str::to_owned)));
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().values().as_ref(), [1, 2, 3, 4]);
        assert_eq!(batch.column(2).as_primitive::<Int64Type>().values().as_ref(), [0, 1, 2, 3]);
        // The watermark's column is read although no query asked for it; what lies more than an hour ahead does not move it.
        let progress = read.last.progress[&0];
        // Short batches end with one that has no other time.
        let newest = (rows_max == 100).then_some(NOON - 7_199_000_000);
        assert_eq!((progress.event_time_max, progress.far_future), (newest, 1));
    }
}

#[test]
fn csv_rows_that_do_not_fit_become_dead_letters_and_the_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let rows = (0..50).map(|id| match id {
        7 => "x7,seven,\n".to_owned(),
        8 => ",eight,\n".to_owned(),
        30 => "30,thirty\n".to_owned(),
        _ => format!("{id},n{id},\n"),
    });
    write(dir.path(), "a.csv", &format!("id,name,ts\n{}", rows.collect::<String>()));
    let def = table(dir.path(), Format::Csv, OnBadRow::DeadLetter);
    for rows_max in [1, 16, 100] {
        let read = read(&def, &[0, 3], &Offsets::new(), rows_max).unwrap();
        let ids = read.batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec());
        let good = (0..50).filter(|id| ![7, 8, 30].contains(id)).collect::<Vec<_>>();
        assert_eq!(ids.collect::<Vec<_>>(), good);
        let numbers =
            read.batches.iter().flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().values().to_vec());
        assert_eq!(numbers.collect::<Vec<_>>(), good);
        assert_eq!(read.records, good);
        let dead = read.dead.iter().map(|dead| (dead.offset.unwrap(), dead.value.as_deref(), dead.column.as_deref()));
        assert_eq!(
            dead.collect::<Vec<_>>(),
            [
                (7, Some(&b"x7,seven,"[..]), Some("id")),
                (8, Some(&b",eight,"[..]), Some("id")),
                (30, Some(&b"30,thirty"[..]), None),
            ]
        );
    }
    let strict = table(dir.path(), Format::Csv, OnBadRow::Fail);
    let error = read(&strict, &[0], &Offsets::new(), 100).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.primary().ends_with("a.csv, record 7, for table \"t\""), "{error:?}");
}

#[test]
fn csv_resumes_by_record_number() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.csv", CSV);
    write(dir.path(), "b.csv", "id,name,ts\n9,nine,\n");
    let def = table(dir.path(), Format::Csv, OnBadRow::Fail);
    let read = read(&def, &[0, 3], &Offsets::from([(0, 2)]), 100).unwrap();
    let expected = "\
+----+--------+
| id | number |
+----+--------+
| 3  | 2      |
| 4  | 3      |
| 9  | 0      |
+----+--------+";
    assert_eq!(shown(&read.batches), expected);
}

#[test]
fn a_column_that_a_file_lacks_is_named_with_those_it_has() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.csv", "identity,name,ts\n1,a,\n");
    let mut def = table(&dir.path().join("a.csv"), Format::Csv, OnBadRow::Fail);
    let error = read(&def, &[0], &Offsets::new(), 10).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.primary().ends_with("has no column \"id\""), "{error:?}");
    assert!(error.report().contains("identity, name, ts"), "{error:?}");
    def.columns[0].kind = ColumnKind::Physical { aliases: vec!["identity".into()], numbers_as_text: false };
    assert_eq!(read(&def, &[0], &Offsets::new(), 10).unwrap().batches[0].num_rows(), 1);

    write(dir.path(), "empty.csv", "");
    let def = table(&dir.path().join("empty.csv"), Format::Csv, OnBadRow::Fail);
    assert!(read(&def, &[0], &Offsets::new(), 10).err().unwrap().primary().contains("is empty"));
}

#[test]
fn parquet_columns_are_cast_to_the_declared_types() {
    let dir = tempfile::tempdir().unwrap();
    let text = "{\"name\":\"a\",\"id\":1,\"extra\":true,\"ts\":\"2020-01-01T10:00:00\"}\n{\"name\":null,\"id\":2}\n{\"name\":\"c\",\"id\":3}";
    let schema = arrow::datatypes::Schema::new(vec![
        arrow::datatypes::Field::new("name", DataType::Utf8, true),
        arrow::datatypes::Field::new("id", DataType::Int32, true),
        arrow::datatypes::Field::new("extra", DataType::Boolean, true),
        arrow::datatypes::Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]);
    let mut decoder = arrow_json::ReaderBuilder::new(schema.into()).build_decoder().unwrap();
    decoder.decode(text.as_bytes()).unwrap();
    let batch = decoder.flush().unwrap().unwrap();
    assert_eq!(batch.column(1).as_primitive::<Int32Type>().len(), 3);
    let file = std::fs::File::create(dir.path().join("a.parquet")).unwrap();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();

    let def = table(dir.path(), Format::Parquet, OnBadRow::Fail);
    for rows_max in [1, 100] {
        let read = read(&def, &[1, 0, 3], &Offsets::from([(0, 1)]), rows_max).unwrap();
        assert_eq!(read.batches[0].schema().field(1).data_type(), &DataType::Int64);
        let expected = "\
+------+----+--------+
| name | id | number |
+------+----+--------+
|      | 2  | 1      |
| c    | 3  | 2      |
+------+----+--------+";
        assert_eq!(shown(&read.batches), expected);
    }
    let all = read(&def, &[], &Offsets::new(), 100).unwrap();
    assert_eq!((all.batches[0].num_rows(), all.batches[0].num_columns()), (3, 0));
    assert_eq!(all.last.progress[&0].event_time_max, Some(NOON - 7_200_000_000));

    let mut strict = def.clone();
    strict.columns[1].nullable = false;
    let error = read(&strict, &[1], &Offsets::new(), 100).err().unwrap();
    assert!(error.report().contains("field \"name\" is missing; the schema says NOT NULL"), "{error:?}");
}

/// The table with `CHECK (id <= 40)` and `CHECK (name IN ('a', 'b'))`.
fn checked(path: &Path, format: Format, on_bad_row: OnBadRow) -> TableDef {
    let mut def = table(path, format, on_bad_row);
    def.columns[0].checks.push(Check::of_value(Relation::AtMost, Constants::Whole(vec![40]), &["40".into()]));
    let names = Constants::Text(vec![Box::from(&b"a"[..]), Box::from(&b"b"[..])]);
    def.columns[1].checks.push(Check::of_value(Relation::OneOf, names, &["'a'".into(), "'b'".into()]));
    def
}

const REFUSED: [(Offset, &str, &str); 3] = [
    (7, "name", "field \"name\" is \"dance\"; the schema says one of 'a', 'b'"),
    (41, "id", "field \"id\" is 41; the schema says at most 40"),
    (42, "id", "field \"id\" is 42; the schema says at most 40"),
];

/// Rows 0 to 42; the refused ones would carry the watermark furthest.
fn check_refusals(def: &TableDef, values: [&str; 3]) {
    for rows_max in [1, 8, 100] {
        let read = read(def, &[0, 1, 3], &Offsets::new(), rows_max).unwrap();
        let column = |index: usize| {
            let values = read
                .batches
                .iter()
                .flat_map(move |batch| batch.column(index).as_primitive::<Int64Type>().values().to_vec());
            values.collect::<Vec<_>>()
        };
        let good = (0..41).filter(|id| *id != 7).collect::<Vec<_>>();
        assert_eq!((column(0), column(2)), (good.clone(), good));
        assert!(read.batches.iter().all(|batch| batch.num_rows() > 0));
        let dead = read.dead.iter().map(|dead| {
            let value = dead.value.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            (
                (dead.offset.unwrap(), dead.column.as_deref().unwrap_or_default(), dead.reason.as_str()),
                value.into_owned(),
            )
        });
        assert_eq!(dead.collect::<Vec<_>>(), REFUSED.into_iter().zip(values.map(str::to_owned)).collect::<Vec<_>>());
        if rows_max == 100 {
            assert_eq!(read.last.progress[&0].event_time_max, Some(NOON));
        }
    }
    // A column that nobody reads is not checked.
    let read_ids = read(def, &[0], &Offsets::new(), 100).unwrap();
    assert_eq!(read_ids.dead.iter().map(|dead| dead.offset.unwrap()).collect::<Vec<_>>(), [41, 42]);
    let strict = TableDef { on_bad_row: OnBadRow::Fail, ..def.clone() };
    let error = read(&strict, &[0, 1], &Offsets::new(), 100).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.primary().contains(", record 7, for table \"t\""), "{error:?}");
    assert!(error.report().contains(&format!("detail: {}", REFUSED[0].2)), "{error:?}");
}

fn numbered_rows(line: impl Fn(i64, &str, &str) -> String) -> String {
    let row = |id: i64| match id {
        7 => line(id, "dance", "2020-01-01T12:30:00"),
        8 => line(id, "", "2020-01-01T10:00:00"),
        41 | 42 => line(id, "b", "2020-01-01T12:30:00"),
        _ => line(id, ["a", "b"][id as usize % 2], "2020-01-01T12:00:00"),
    };
    (0..=42).map(row).collect()
}

#[test]
fn csv_rows_that_fail_a_check_become_dead_letters() {
    let dir = tempfile::tempdir().unwrap();
    let rows = numbered_rows(|id, name, ts| format!("{id},{name},{ts}\n"));
    write(dir.path(), "a.csv", &format!("id,name,ts\n{rows}"));
    let values = ["7,dance,2020-01-01T12:30:00", "41,b,2020-01-01T12:30:00", "42,b,2020-01-01T12:30:00"];
    check_refusals(&checked(&dir.path().join("a.csv"), Format::Csv, OnBadRow::DeadLetter), values);
}

#[test]
fn parquet_rows_that_fail_a_check_become_dead_letters_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let text = numbered_rows(|id, name, ts| match name {
        "" => format!("{{\"id\":{id},\"ts\":\"{ts}\"}}\n"),
        name => format!("{{\"id\":{id},\"name\":\"{name}\",\"ts\":\"{ts}\"}}\n"),
    });
    let schema = arrow::datatypes::Schema::new(vec![
        arrow::datatypes::Field::new("name", DataType::Utf8, true),
        arrow::datatypes::Field::new("id", DataType::Int32, true),
        arrow::datatypes::Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ]);
    let mut decoder = arrow_json::ReaderBuilder::new(schema.into()).build_decoder().unwrap();
    decoder.decode(text.as_bytes()).unwrap();
    let batch = decoder.flush().unwrap().unwrap();
    let file = std::fs::File::create(dir.path().join("a.parquet")).unwrap();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let values = [
        r#"{"id":7,"name":"dance","ts":"2020-01-01T12:30:00"}"#,
        r#"{"id":41,"name":"b","ts":"2020-01-01T12:30:00"}"#,
        r#"{"id":42,"name":"b","ts":"2020-01-01T12:30:00"}"#,
    ];
    check_refusals(&checked(&dir.path().join("a.parquet"), Format::Parquet, OnBadRow::DeadLetter), values);
}

/// `(record, column, reason)` of each dead letter.
fn dead(read: &Read) -> Vec<(Offset, Option<&str>, &str)> {
    read.dead.iter().map(|dead| (dead.offset.unwrap(), dead.column.as_deref(), dead.reason.as_str())).collect()
}

#[test]
fn csv_cells_that_do_not_fit_are_told_as_those_of_json_are() {
    let dir = tempfile::tempdir().unwrap();
    let text = "id,name,ts\n\
                x7,a,\n\
                9223372036854775808,b,\n\
                3,c,yesterday\n\
                4,d,0000-01-01T00:00:00\n\
                5,e\n\
                6,\"f\n\
                two\",,7\n\
                8,g,2020-01-01\n";
    write(dir.path(), "a.csv", text);
    let def = table(&dir.path().join("a.csv"), Format::Csv, OnBadRow::DeadLetter);
    for rows_max in [1, 3, 100] {
        let read = read(&def, &[0, 1, 2], &Offsets::new(), rows_max).unwrap();
        assert_eq!(
            dead(&read),
            [
                (0, Some("id"), r#"field "id" is "x7"; the schema says bigint"#),
                (1, Some("id"), r#"field "id" is "9223372036854775808"; the schema says bigint"#),
                (2, Some("ts"), r#"field "ts" is "yesterday"; the schema says timestamp(3)"#),
                (
                    3,
                    Some("ts"),
                    r#"field "ts" is "0000-01-01T00:00:00", outside the years 1 to 9999; the schema says timestamp(3)"#
                ),
                (4, None, "the record has 2 fields, the header 3"),
                (5, None, "the record has 4 fields, the header 3"),
            ],
            "{rows_max}"
        );
        assert_eq!(read.batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    }
}

#[test]
fn a_csv_row_that_stops_the_query_is_named_by_file_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    for (text, place) in [
        ("id,name,ts\n1,a,\n\n2,\"two\nlines, ü\",nonsense\n", "5:11"),
        ("id,name,ts\n1,a,\n\n2,ü,nonsense\n", "4:5"),
        ("\n\nid,name,ts\n1,a,\n2\n", "5:1"),
        ("name,ts,id\na,,x\n", "2:4"),
    ] {
        for rows_max in [1, 100] {
            write(dir.path(), "a.csv", text);
            let error =
                read(&table(&path, Format::Csv, OnBadRow::Fail), &[0, 2], &Offsets::new(), rows_max).err().unwrap();
            let expected = format!("{}:{place}: cannot decode row from file", path.display());
            assert!(error.report().starts_with(&expected), "{}", error.report());
            assert!(!error.report().contains("line 0"));
        }
    }
    // Also where reading begins in the midst of the file.
    write(dir.path(), "a.csv", "id,name,ts\n1,\"a\nb\",\n2,a,\nx,a,\n");
    let error = read(&table(&path, Format::Csv, OnBadRow::Fail), &[0], &Offsets::from([(0, 1)]), 1).err().unwrap();
    assert!(error.report().starts_with(&format!("{}:5:1: ", path.display())), "{}", error.report());
}

#[test]
fn csv_fields_may_stand_between_other_characters() {
    let dir = tempfile::tempdir().unwrap();
    for delimiter in [b';', b'\t', b'|'] {
        let text = CSV.replace(",", &char::from(delimiter).to_string()).replace("one;", "one,");
        write(dir.path(), "a.csv", &text);
        let def =
            TableDef { csv_delimiter: delimiter, ..table(&dir.path().join("a.csv"), Format::Csv, OnBadRow::Fail) };
        for rows_max in [1, 100] {
            let read = read(&def, &[0, 1], &Offsets::new(), rows_max).unwrap();
            assert_eq!(read.batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
        }
    }
}

/// What `ts`, in `unit` and `format`, makes of the cells: the times in microseconds, or the reasons.
fn times(unit: TimeUnit, format: TimestampFormat, cells: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let rows = cells.iter().map(|cell| format!("1,a,{cell}\n")).collect::<String>();
    write(dir.path(), "a.csv", &format!("id,name,ts\n{rows}"));
    let mut def = table(&dir.path().join("a.csv"), Format::Csv, OnBadRow::DeadLetter);
    def.columns[2].data_type = DataType::Timestamp(unit, None);
    def.columns[2].timestamps = format;
    let read = read(&def, &[2, 3], &Offsets::new(), 100).unwrap();
    let mut found = vec![String::new(); cells.len()];
    for batch in &read.batches {
        let times = arrow::compute::cast(batch.column(0), &DataType::Timestamp(TimeUnit::Microsecond, None)).unwrap();
        let times = times.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        for (time, number) in times.iter().zip(batch.column(1).as_primitive::<Int64Type>().values()) {
            found[*number as usize] = time.map_or("NULL".into(), |time| time.to_string());
        }
    }
    read.dead.into_iter().for_each(|dead| found[dead.offset.unwrap() as usize] = dead.reason);
    found
}

#[test]
fn csv_times_are_text_or_numbers_as_declared() {
    let (millis, nanos) = (TimeUnit::Millisecond, TimeUnit::Nanosecond);
    let any = ["1700000000000", "2023-11-14T22:13:20Z", "2023-11-14T22:13Z", "2023-11-14", ""];
    assert_eq!(
        times(millis, TimestampFormat::TextOrMillis, &any),
        ["1700000000000000", "1700000000000000", "1699999980000000", "1699920000000000", "NULL"]
    );
    let seconds = TimestampFormat::Epoch(TimeUnit::Second);
    assert_eq!(
        times(millis, seconds, &["1700000000", "1700000000.5", "-1", "2023-11-14T22:13:20Z"]),
        [
            "1700000000000000",
            "1700000000500000",
            "-1000000",
            r#"field "ts" is "2023-11-14T22:13:20Z"; the schema says timestamp(3) as epoch-s"#
        ]
    );
    assert_eq!(
        times(millis, TimestampFormat::Iso8601, &["1700000000000", "2023-11-14T22:13:20Z"])[0],
        r#"field "ts" is 1700000000000; the schema says timestamp(3) as iso-8601; as epoch-ms it would be 2023-11-14T22:13:20Z: if it is, add 'timestamp-format.ts' = 'epoch-ms'"#
    );
    assert_eq!(
        times(millis, TimestampFormat::TextOrMillis, &["1700000000000000000"]),
        [
            r#"field "ts" is 1700000000000000000, which as epoch-ms lies outside the years 1 to 9999; the schema says timestamp(3); as epoch-ns it would be 2023-11-14T22:13:20Z: if it is, add 'timestamp-format.ts' = 'epoch-ns'"#
        ]
    );
    assert_eq!(
        times(nanos, TimestampFormat::TextOrMillis, &["1677-12-31", "1678-01-01"]),
        [
            r#"field "ts" is "1677-12-31", outside the years 1678 to 2261; the schema says timestamp(9)"#,
            "-9214560000000000"
        ]
    );
}

/// A Parquet file of the columns.
fn write_parquet(path: &Path, columns: Vec<(&str, arrow::array::ArrayRef)>) {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let mut writer =
        ::parquet::arrow::ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn parquet_times_beyond_the_range_are_bad_rows_whatever_their_type() {
    use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray, UInt64Array};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let good = 1_700_000_000_000_000i64;
    let cases: Vec<(ArrayRef, TimestampFormat, TimeUnit, &str)> = vec![
        (
            Arc::new(TimestampMicrosecondArray::from(vec![good, i64::MAX])),
            TimestampFormat::TextOrMillis,
            TimeUnit::Nanosecond,
            r#"field "ts" is 9223372036854775807, which as epoch-us lies outside the years 1678 to 2261; the schema says timestamp(9) as epoch-us"#,
        ),
        (
            Arc::new(Int64Array::from(vec![good / 1_000, good * 1_000])),
            TimestampFormat::TextOrMillis,
            TimeUnit::Microsecond,
            r#"field "ts" is 1700000000000000000, which as epoch-ms lies outside the years 1 to 9999; the schema says timestamp(6); as epoch-ns it would be 2023-11-14T22:13:20Z: if it is, add 'timestamp-format.ts' = 'epoch-ns'"#,
        ),
        (
            Arc::new(UInt64Array::from(vec![good as u64 * 1_000, u64::MAX])),
            TimestampFormat::Epoch(TimeUnit::Microsecond),
            TimeUnit::Millisecond,
            "",
        ),
        (
            Arc::new(Float64Array::from(vec![good as f64 / 1e6, 1e300])),
            TimestampFormat::Epoch(TimeUnit::Second),
            TimeUnit::Millisecond,
            r#"field "ts" is 1e300, which as epoch-s lies outside the years 1 to 9999; the schema says timestamp(3) as epoch-s"#,
        ),
        (
            Arc::new(StringArray::from(vec!["2023-11-14T22:13:20Z", "soon"])),
            TimestampFormat::Iso8601,
            TimeUnit::Millisecond,
            r#"field "ts" is "soon"; the schema says timestamp(3) as iso-8601"#,
        ),
    ];
    for (array, format, unit, expected) in cases {
        let ids = Arc::new(Int64Array::from(vec![1, 2]));
        write_parquet(&path, vec![("id", ids), ("TS", array)]);
        let mut def = table(&path, Format::Parquet, OnBadRow::DeadLetter);
        def.columns[2].data_type = DataType::Timestamp(unit, None);
        def.columns[2].timestamps = format;
        let read = read(&def, &[0, 2], &Offsets::new(), 100).unwrap();
        if expected.is_empty() {
            // As microseconds both are beyond the year 9999.
            assert_eq!(read.dead.len(), 2);
            continue;
        }
        assert_eq!(dead(&read), [(1, Some("ts"), expected)]);
        let times = arrow::compute::cast(read.batches[0].column(1), &DataType::Timestamp(TimeUnit::Microsecond, None));
        let times = times.unwrap();
        let times = times.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        assert_eq!(times.values().as_ref(), [good]);
    }
}

#[test]
fn a_parquet_value_that_does_not_fit_refuses_its_row_and_a_type_that_does_not_fit_the_file() {
    use arrow::array::{Int64Array, StringArray};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let ids = Arc::new(StringArray::from(vec![Some("1"), Some("x"), None]));
    write_parquet(&path, vec![("id", ids), ("ts", Arc::new(Int64Array::from(vec![0, 0, 0])))]);
    let mut def = table(&path, Format::Parquet, OnBadRow::DeadLetter);
    let found = read(&def, &[0], &Offsets::new(), 100).unwrap();
    assert_eq!(
        dead(&found),
        [
            (1, Some("id"), r#"field "id" is "x"; the schema says bigint"#),
            (2, Some("id"), r#"field "id" is missing; the schema says NOT NULL"#)
        ]
    );
    def.columns[2].timestamps = TimestampFormat::Iso8601;
    let error = read(&def, &[0], &Offsets::new(), 100).err().unwrap();
    assert!(error.report().contains("values of type Int64 are no timestamps as iso-8601"), "{}", error.report());
}

#[test]
fn a_time_beyond_the_range_inside_a_list_or_struct_refuses_its_row() {
    use arrow::array::{Array, Int64Array, ListArray, StructArray, TimestampMillisecondArray};
    use arrow::buffer::OffsetBuffer;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let times = Arc::new(TimestampMillisecondArray::from(vec![0, 0, i64::MIN, 0]));
    let at = Arc::new(arrow::datatypes::Field::new("at", times.data_type().clone(), true));
    let structs = Arc::new(StructArray::from(vec![(at, times as _)]));
    let item = Arc::new(arrow::datatypes::Field::new_list_field(structs.data_type().clone(), true));
    let lists = Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([1, 0, 2, 1]), structs, None));
    let list_type = lists.data_type().clone();
    write_parquet(&path, vec![("id", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))), ("seen", lists)]);
    let mut def = table(&path, Format::Parquet, OnBadRow::DeadLetter);
    def.watermark = None;
    def.columns = vec![Column::physical("id", DataType::Int64, false), Column::physical("seen", list_type, true)];
    let read = read(&def, &[0, 1], &Offsets::new(), 100).unwrap();
    assert_eq!(dead(&read), [(2, Some("seen"), r#"field "seen" holds a time outside the years 1 to 9999"#)]);
    assert_eq!(read.batches[0].num_rows(), 3);
}

#[test]
fn a_files_column_is_found_by_its_exact_name_or_by_one_that_differs_in_capitals_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    let def = table(&path, Format::Csv, OnBadRow::Fail);
    for (header, expected) in [
        ("ID,Name,TS", Ok(1)),
        ("id,ID,ts", Ok(1)),
        ("ID,id,ts", Ok(2)),
        ("ID,Id,ts", Err("spells column \"id\" in two ways, \"ID\" and \"Id\"")),
        ("_id,name,ts", Err("hint: if \"_id\" is it, add 'aliases.id' = '_id'")),
    ] {
        write(dir.path(), "a.csv", &format!("{header}\n1,2,\n"));
        match (read(&def, &[0], &Offsets::new(), 100), expected) {
            (Ok(read), Ok(id)) => assert_eq!(read.batches[0].column(0).as_primitive::<Int64Type>().values()[0], id),
            (Err(error), Err(expected)) => assert!(error.report().contains(expected), "{}", error.report()),
            (read, expected) => panic!("{header}: {:?}, not {expected:?}", read.err()),
        }
    }
}

/// `id`, `t`, and what is computed of them: `half` fails for t = 0, `ts` is beyond all times for the last.
fn computed(path: &Path) -> TableDef {
    let text = format!(
        "CREATE TABLE t (half AS 4 / t, id BIGINT NOT NULL, t BIGINT, ts AS to_timestamp_millis(t * 1000),
           place AS record + 100, record BIGINT METADATA FROM 'offset', WATERMARK FOR ts AS ts)
         WITH ('connector' = 'filesystem', 'path' = '{}')",
        path.display()
    );
    match crate::sql::parse_file("t.sql", &text).expect("a table").pop() {
        Some(crate::catalog::Statement::CreateTable(table)) => table,
        other => panic!("not a table: {other:?}"),
    }
}

#[test]
fn columns_are_computed_of_the_rows_of_files() {
    let dir = tempfile::tempdir().unwrap();
    let rows =
        [(Some(1), Some(2)), (None, Some(7)), (Some(3), Some(0)), (Some(4), None), (Some(5), Some(253_402_300_800))];
    let text = |number: Option<i64>| number.map_or(String::new(), |number| number.to_string());
    let csv: String = rows.iter().map(|(id, t)| format!("{},{}\n", text(*id), text(*t))).collect();
    write(dir.path(), "a.csv", &format!("id,t\n{csv}"));
    let (ids, times): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let column = |values: Vec<Option<i64>>| Arc::new(arrow::array::Int64Array::from(values)) as arrow::array::ArrayRef;
    let batch =
        RecordBatch::try_from_iter_with_nullable([("id", column(ids), true), ("t", column(times), true)]).unwrap();
    let file = std::fs::File::create(dir.path().join("a.parquet")).unwrap();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    for name in ["a.csv", "a.parquet"] {
        let def = computed(&dir.path().join(name));
        for rows_max in [1, 2, 100] {
            let read_all = read(&def, &[0, 1, 3, 4], &Offsets::new(), rows_max).unwrap();
            assert_eq!(
                shown(&read_all.batches),
                "\
+------+----+---------------------+-------+
| half | id | ts                  | place |
+------+----+---------------------+-------+
| 2    | 1  | 1970-01-01T00:00:02 | 100   |
|      | 4  |                     | 103   |
+------+----+---------------------+-------+",
                "{name}, {rows_max}"
            );
            assert_eq!(read_all.records, [0, 3]);
            let dead = read_all.dead.iter().map(|dead| (dead.offset.unwrap(), dead.column.as_deref().unwrap()));
            assert_eq!(dead.collect::<Vec<_>>(), [(1, "id"), (2, "half"), (4, "ts")], "{name}, {rows_max}");
            assert!(
                read_all.dead[1].reason.starts_with("t.sql:1:25: column \"half\" cannot be computed: division by zero")
            );
            if rows_max == 100 {
                assert_eq!(read_all.last.progress[&0].event_time_max, Some(2_000_000));
            }
            // What is not read is not computed; alone it is.
            let read_ids = read(&def, &[1, 3], &Offsets::new(), rows_max).unwrap();
            assert_eq!((read_ids.records, read_ids.dead.len()), (vec![0, 2, 3], 2));
            let places = read(&def, &[4], &Offsets::new(), rows_max).unwrap();
            assert_eq!((places.records.len(), places.dead.len()), (5, 0), "{name}, {rows_max}");
        }
    }
}
