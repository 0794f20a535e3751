use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;

use super::{JsonColumn, JsonDecoder, RowError};

mod check;
mod differential;
mod fuzz;
mod shapes;
mod spelling;
mod times;

fn decoder(fields: &[Field]) -> JsonDecoder {
    JsonDecoder::try_new(&fields.iter().cloned().map(JsonColumn::from).collect::<Vec<_>>()).unwrap()
}

/// What one nullable column `a` makes of a value: its display, `NULL`, or the error.
fn one(data_type: &DataType, value: &str) -> String {
    let mut decoder = decoder(&[Field::new("a", data_type.clone(), true)]);
    match decoder.decode(format!("{{\"a\":{value}}}").as_bytes()) {
        Ok(()) => {
            let batch = decoder.flush().unwrap();
            assert_eq!(batch.num_rows(), 1);
            assert_eq!(batch.column(0).data_type(), data_type);
            match batch.column(0).is_null(0) {
                true => "NULL".into(),
                false => array_value_to_string(batch.column(0), 0).unwrap(),
            }
        }
        Err(error) => {
            assert_eq!(decoder.flush().unwrap().num_rows(), 0);
            error.reason
        }
    }
}

fn timestamp(unit: TimeUnit) -> DataType {
    DataType::Timestamp(unit, None)
}

#[test]
fn each_type_reads_its_values_and_refuses_the_others() {
    use DataType::*;
    let utc = Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let ints = List(Arc::new(Field::new_list_field(Int32, true)));
    let point = Struct(Fields::from(vec![Field::new("x", Float64, true), Field::new("y", Float64, false)]));
    let cases: &[(&DataType, &str, &str)] = &[
        (&Boolean, "true", "true"),
        (&Boolean, "false", "false"),
        (&Boolean, "null", "NULL"),
        (&Boolean, "1", r#"field "a" is 1; the schema says boolean"#),
        (&Boolean, "tru", "the record is not valid JSON at byte 5: expected a value"),
        (&Int8, "-128", "-128"),
        (&Int8, "128", r#"field "a" is 128, out of range; the schema says tinyint"#),
        (&Int16, "32767", "32767"),
        (&Int16, "-32769", r#"field "a" is -32769, out of range; the schema says smallint"#),
        (&Int32, "67", "67"),
        (&Int32, "67.0", "67"),
        (&Int32, "1.5e1", "15"),
        (&Int32, "0e99", "0"),
        (&Int32, "-0", "0"),
        (&Int32, "67.5", r#"field "a" is 67.5, not a whole number; the schema says int"#),
        (&Int32, "2147483648", r#"field "a" is 2147483648, out of range; the schema says int"#),
        (&Int32, "1e99", r#"field "a" is 1e99, out of range; the schema says int"#),
        (&Int32, "\"67\"", r#"field "a" is "67"; the schema says int"#),
        (&Int32, "012", "the record is not valid JSON at byte 6: a number has a leading zero"),
        (&Int32, "-", "the record is not valid JSON at byte 6: a number lacks a digit"),
        (&Int32, "1.", "the record is not valid JSON at byte 7: a number lacks a digit"),
        (&Int32, "1e", "the record is not valid JSON at byte 7: a number lacks a digit"),
        (&Int32, "12x", "the record is not valid JSON at byte 7: expected ',' or '}'"),
        (&Int64, "9223372036854775807", "9223372036854775807"),
        (&Int64, "-9223372036854775808", "-9223372036854775808"),
        (&Int64, "9223372036854775808", r#"field "a" is 9223372036854775808, out of range; the schema says bigint"#),
        (&Int64, "99999999999999999999", r#"field "a" is 99999999999999999999, out of range; the schema says bigint"#),
        (&UInt8, "255", "255"),
        (&UInt8, "-1", r#"field "a" is -1, out of range; the schema says tinyint unsigned"#),
        (&UInt16, "65535", "65535"),
        (&UInt32, "4294967295", "4294967295"),
        (&UInt64, "18446744073709551615", "18446744073709551615"),
        (
            &UInt64,
            "18446744073709551616",
            r#"field "a" is 18446744073709551616, out of range; the schema says bigint unsigned"#,
        ),
        (&Float64, "1", "1.0"),
        (&Float64, "-0.1", "-0.1"),
        (&Float64, "0.30000000000000004", "0.30000000000000004"),
        (&Float64, "1.7976931348623157e308", "1.7976931348623157e308"),
        (&Float64, "5e-324", "5e-324"),
        (&Float64, "1e-0000000000000001", "0.1"),
        (&Float64, "1e999", r#"field "a" is 1e999, out of range; the schema says double"#),
        (&Float64, "NaN", "the record is not valid JSON at byte 5: expected a value"),
        (&Float64, "\"1.5\"", r#"field "a" is "1.5"; the schema says double"#),
        (&Float32, "16777217", "16777216.0"),
        (&Float32, "0.1", "0.1"),
        (&Float32, "1e39", r#"field "a" is 1e39, out of range; the schema says real"#),
        (&Decimal128(12, 2), "12.5", "12.50"),
        (&Decimal128(12, 2), "\"-12.50\"", "-12.50"),
        (&Decimal128(12, 2), "12.500", "12.50"),
        (&Decimal128(12, 2), "125e-1", "12.50"),
        (&Decimal128(12, 2), "1.25e3", "1250.00"),
        (
            &Decimal128(12, 2),
            "0.001e-99",
            r#"field "a" is 0.001e-99, with too many digits after the point; the schema says decimal(12,2)"#,
        ),
        (
            &Decimal128(12, 2),
            "12.505",
            r#"field "a" is 12.505, with too many digits after the point; the schema says decimal(12,2)"#,
        ),
        (&Decimal128(12, 2), "10000000000", r#"field "a" is 10000000000, out of range; the schema says decimal(12,2)"#),
        (&Decimal128(12, 2), "9999999999.99", "9999999999.99"),
        (&Decimal128(12, 2), "\"12,5\"", r#"field "a" is "12,5"; the schema says decimal(12,2)"#),
        (&Decimal128(12, 2), "\"\"", r#"field "a" is ""; the schema says decimal(12,2)"#),
        (&Decimal128(38, 0), "99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
        (&Decimal128(38, 38), "0.1", "0.10000000000000000000000000000000000000"),
        (&Decimal128(5, -2), "12300", "12300"),
        (
            &Decimal128(5, -2),
            "12345",
            r#"field "a" is 12345, with too many digits after the point; the schema says decimal(5,-2)"#,
        ),
        (&Date32, "\"2026-02-28\"", "2026-02-28"),
        (&Date32, "\"2024-02-29\"", "2024-02-29"),
        (&Date32, "\"0000-01-01\"", "0000-01-01"),
        (&Date32, "\"2026-02-29\"", r#"field "a" is "2026-02-29"; the schema says date, as 'YYYY-MM-DD'"#),
        (&Date32, "20000", r#"field "a" is 20000; the schema says date, as 'YYYY-MM-DD'"#),
        (&Time32(TimeUnit::Millisecond), "\"23:59:59.9999\"", "23:59:59.999"),
        (
            &Time32(TimeUnit::Second),
            "\"24:00:00\"",
            r#"field "a" is "24:00:00"; the schema says time(0), as 'HH:MM:SS'"#,
        ),
        (&Time64(TimeUnit::Nanosecond), "\"00:00:01.000000001\"", "00:00:01.000000001"),
        (&timestamp(TimeUnit::Second), "1764170000123", "2025-11-26T15:13:20"),
        (&timestamp(TimeUnit::Millisecond), "1764170000123", "2025-11-26T15:13:20.123"),
        (&timestamp(TimeUnit::Microsecond), "1764170000123", "2025-11-26T15:13:20.123"),
        (&timestamp(TimeUnit::Nanosecond), "1764170000123", "2025-11-26T15:13:20.123"),
        (&timestamp(TimeUnit::Millisecond), "-1", "1969-12-31T23:59:59.999"),
        (&timestamp(TimeUnit::Second), "-1", "1969-12-31T23:59:59"),
        (
            &timestamp(TimeUnit::Nanosecond),
            "9223372036855",
            r#"field "a" is 9223372036855, which as epoch-ms lies outside the years 1678 to 2261; the schema says timestamp(9)"#,
        ),
        (
            &timestamp(TimeUnit::Millisecond),
            "1.5",
            r#"field "a" is 1.5, not a whole number; the schema says timestamp(3)"#,
        ),
        (&timestamp(TimeUnit::Millisecond), "\"2026-11-22T02:35:00Z\"", "2026-11-22T02:35:00"),
        (&timestamp(TimeUnit::Millisecond), "\"2026-11-22 02:35:00\"", "2026-11-22T02:35:00"),
        (&timestamp(TimeUnit::Millisecond), "\"2026-11-22T02:35:00.1239\"", "2026-11-22T02:35:00.123"),
        (&timestamp(TimeUnit::Millisecond), "\"2026-11-22T02:35:00+01:30\"", "2026-11-22T01:05:00"),
        (&timestamp(TimeUnit::Millisecond), "\"2026-11-22T02:35:00-0130\"", "2026-11-22T04:05:00"),
        (&timestamp(TimeUnit::Millisecond), "\"2026-11-22T02:35:00+01\"", "2026-11-22T01:35:00"),
        (&timestamp(TimeUnit::Millisecond), r#""2026-11-22T02:35:\u0030\u0030Z""#, "2026-11-22T02:35:00"),
        (&timestamp(TimeUnit::Nanosecond), "\"1678-01-01T00:00:00.000000001Z\"", "1678-01-01T00:00:00.000000001"),
        (
            &timestamp(TimeUnit::Nanosecond),
            "\"1677-12-31T23:59:59.999999999Z\"",
            r#"field "a" is "1677-12-31T23:59:59.999999999Z", outside the years 1678 to 2261; the schema says timestamp(9)"#,
        ),
        (
            &timestamp(TimeUnit::Millisecond),
            "\"2026-11-22\"",
            r#"field "a" is "2026-11-22"; the schema says timestamp(3)"#,
        ),
        (
            &timestamp(TimeUnit::Millisecond),
            "\"2026-11-22T02:35:60Z\"",
            r#"field "a" is "2026-11-22T02:35:60Z"; the schema says timestamp(3)"#,
        ),
        (&utc, "\"2026-11-22T02:35:00+01:00\"", "2026-11-22T01:35:00Z"),
        (&utc, "true", r#"field "a" is true; the schema says timestamp(3) with time zone"#),
        (&Utf8View, r#""goal""#, "goal"),
        (&Utf8View, r#""""#, ""),
        (
            &Utf8,
            r#""a value of more than twelve bytes, then of more than forty-eight""#,
            "a value of more than twelve bytes, then of more than forty-eight",
        ),
        (&LargeUtf8, r#""Grüße ⚽ \u26bd \ud83d\ude00 \"\\\/\b\f\n\r\t""#, "Grüße ⚽ ⚽ 😀 \"\\/\u{8}\u{c}\n\r\t"),
        (&Utf8View, r#"{"b": [1, "]"]}"#, r#"{"b": [1, "]"]}"#),
        (&Utf8View, "[ ]", "[ ]"),
        (&Utf8View, "12", r#"field "a" is 12; the schema says varchar"#),
        (&Utf8View, "true", r#"field "a" is true; the schema says varchar"#),
        (
            &Utf8View,
            r#""\ud800""#,
            r"the record is not valid JSON at byte 6: a \u escape is broken or half of a surrogate pair",
        ),
        (
            &Utf8View,
            r#""\udc00\ud800""#,
            r"the record is not valid JSON at byte 6: a \u escape is broken or half of a surrogate pair",
        ),
        (
            &Utf8View,
            r#""\u12g4""#,
            r"the record is not valid JSON at byte 6: a \u escape is broken or half of a surrogate pair",
        ),
        (&Utf8View, r#""\x""#, "the record is not valid JSON at byte 6: unknown escape in a string"),
        (&Utf8View, "\"a\nb\"", "the record is not valid JSON at byte 7: control character in a string"),
        (&Utf8View, "\"a", "the record is not valid JSON at byte 8: the record ends too early"),
        (&Binary, "\"Z29hbA==\"", "676f616c"),
        (&BinaryView, "\"Z29hbA\"", "676f616c"),
        (&LargeBinary, "\"\"", ""),
        (&Binary, "\"Z29hb!==\"", r#"field "a" is "Z29hb!=="; the schema says bytea, as base64 text"#),
        (&ints, "[1, null ,3]", "[1, , 3]"),
        (&ints, "[]", "[]"),
        (&ints, "[1,2,\"x\"]", r#"field "a[2]" is "x"; the schema says int"#),
        (&ints, "[1,]", "the record is not valid JSON at byte 8: expected a value"),
        (&ints, "{}", r#"field "a" is {}; the schema says list of int"#),
        (&point, r#"{"y":2,"x":1}"#, "{x: 1.0, y: 2.0}"),
        (&point, r#"{"x":1}"#, r#"field "a.y" is missing; the schema says not null"#),
        (&point, r#"{"x":1,"y":null}"#, r#"field "a.y" is null; the schema says not null"#),
        (&point, r#"{"x":1,"y":{"z":[2]}}"#, r#"field "a.y" is {"z":[2]}; the schema says double"#),
        (&point, "[1,2]", r#"field "a" is [1,2]; the schema says struct"#),
        (&point, "null", "NULL"),
    ];
    for (data_type, value, expected) in cases {
        assert_eq!(one(data_type, value), *expected, "{value} as {data_type}");
    }
}

#[test]
fn a_record_is_one_object_and_nothing_else() {
    let cases: &[(&[u8], &str)] = &[
        (b" \t\r\n{ \"a\" : 1 , \"b\" : [ ] } \n", ""),
        (b"{}", ""),
        (b"", "the record is empty, not a JSON object"),
        (b"  ", "the record is not valid JSON at byte 2: the record ends too early"),
        (b"12", "the record is 12, not a JSON object"),
        (b"[{\"a\":1}]", "the record is [{\"a\":1}], not a JSON object"),
        (b"nul", "the record is not valid JSON at byte 0: expected a value"),
        (b"{\"a\":1}}", "the record is not valid JSON at byte 7: something follows the object"),
        (b"{\"a\":1} {\"a\":2}", "the record is not valid JSON at byte 8: something follows the object"),
        (b"{\"a\":1,}", "the record is not valid JSON at byte 7: expected a field name"),
        (b"{,}", "the record is not valid JSON at byte 1: expected a field name"),
        (b"{\"a\" 1}", "the record is not valid JSON at byte 5: expected ':' after a field name"),
        (b"{\"a\":}", "the record is not valid JSON at byte 5: expected a value"),
        (b"{a:1}", "the record is not valid JSON at byte 1: expected a field name"),
        (b"{\"z\":\"\xff\"}", "the record is not valid JSON at byte 6: a string is not UTF-8"),
        (b"{\"z\":tru}", "the record is not valid JSON at byte 5: expected a value"),
        (b"{\"z\":01}", "the record is not valid JSON at byte 6: a number has a leading zero"),
        (b"{\"z\":\"\\q\"}", "the record is not valid JSON at byte 6: unknown escape in a string"),
        (b"{\"z\":{\"y\":[1,{}]}", "the record is not valid JSON at byte 17: the record ends too early"),
        (b"{\"a\":1\0}", "the record is not valid JSON at byte 6: expected ',' or '}'"),
    ];
    for (record, expected) in cases {
        let mut decoder = decoder(&[Field::new("a", DataType::Int32, true)]);
        let found = decoder.decode(record).err().map(|error| error.reason).unwrap_or_default();
        assert_eq!(found, *expected, "{}", String::from_utf8_lossy(record));
    }
}

#[test]
fn a_bad_row_leaves_no_trace_and_names_its_column() {
    let mut decoder = decoder(&[
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8View, true),
        Field::new("tags", DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))), true),
    ]);
    decoder.decode(br#"{"id":1,"name":"a name of some length","tags":["x"]}"#).unwrap();
    let error = decoder.decode(br#"{"tags":["y","z"],"name":"lost","id":null}"#).unwrap_err();
    assert_eq!(
        error,
        RowError { column: Some("id".into()), reason: r#"field "id" is null; the schema says not null"#.into() }
    );
    let error = decoder.decode(br#"{"id":2,"tags":["y","z",3],"name":"lost"}"#).unwrap_err();
    assert_eq!(error.column.as_deref(), Some("tags[2]"));
    let error = decoder.decode(br#"{"name":"no id"}"#).unwrap_err();
    assert_eq!(error.reason, r#"field "id" is missing; the schema says not null"#);
    assert_eq!(decoder.len(), 1);
    decoder.decode(br#"{"id":3,"name":null}"#).unwrap();

    let batch = decoder.flush().unwrap();
    assert_eq!(rows(&batch), ["1, a name of some length, [x]", "3, , "]);
    assert!(decoder.is_empty());
    assert_eq!(decoder.bytes(), 0);
}

#[test]
fn the_last_of_a_repeated_field_counts_by_whatever_name() {
    let names = vec!["ts".into(), "time".into()];
    let field = Field::new("event_time", DataType::Utf8View, false);
    let mut decoder = JsonDecoder::try_new(&[JsonColumn { aliases: names, ..field.into() }]).unwrap();
    for record in [
        r#"{"event_time":"a"}"#,
        r#"{"ts":"b"}"#,
        r#"{"ts":"x","time":"y","event_time":"c"}"#,
        r#"{"event_time":"x","ts":"d"}"#,
        r#"{"t\u0073":"e"}"#,
    ] {
        decoder.decode(record.as_bytes()).unwrap();
    }
    assert_eq!(rows(&decoder.flush().unwrap()), ["a", "b", "c", "d", "e"]);

    let twice = [
        Field::new("a", DataType::Int32, true).into(),
        JsonColumn { aliases: vec!["a".into()], ..Field::new("b", DataType::Int32, true).into() },
    ];
    let error = JsonDecoder::try_new(&twice).unwrap_err();
    assert_eq!(error.primary(), "field name \"a\" stands for two columns");
}

// Where the schema says so a number is text as it is written; nothing else is.
#[test]
fn numbers_are_text_where_declared() {
    let field = Field::new("id", DataType::Utf8View, true);
    let mut decoder = JsonDecoder::try_new(&[JsonColumn { numbers_as_text: true, ..field.into() }]).unwrap();
    for record in [r#"{"id":1}"#, r#"{"id":"2"}"#, r#"{"id":-0.50}"#, r#"{"id":1e3 }"#] {
        decoder.decode(record.as_bytes()).unwrap();
    }
    for (record, reason) in [
        (r#"{"id":01}"#, "the record is not valid JSON at byte 7: a number has a leading zero"),
        (r#"{"id":true}"#, r#"field "id" is true; the schema says varchar"#),
    ] {
        assert_eq!(decoder.decode(record.as_bytes()).unwrap_err().reason, reason);
    }
    assert_eq!(rows(&decoder.flush().unwrap()), ["1", "2", "-0.50", "1e3"]);
}

#[test]
fn field_order_spaces_and_strangers_do_not_matter() {
    let fields = [Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8View, true)];
    let mut decoder = decoder(&fields);
    for record in [
        r#"{"a":1,"b":"x"}"#,
        r#"{"b":"x","a":1}"#,
        r#"{ "b" : "x" , "a" : 1 }"#,
        r#"{"c":[{"a":2}],"a":1,"d":{"b":"y"},"b":"x"}"#,
        r#"{"a_":0,"a":1,"":null,"b":"x","ab":true}"#,
        "{\n  \"a\": 1,\n  \"b\": \"x\"\n}",
    ] {
        decoder.decode(record.as_bytes()).unwrap();
    }
    // More strangers than are remembered, and longer ones.
    for stranger in 0..3000 {
        decoder.decode(format!(r#"{{"s{stranger}":0,"a":1,"{stranger:0>200}":2,"b":"x"}}"#).as_bytes()).unwrap();
    }
    assert!(rows(&decoder.flush().unwrap()).iter().all(|row| row == "1, x"));
}

#[test]
fn limits_hold() {
    let nested = |depth: usize| format!("{{\"z\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let mut decoder = decoder(&[Field::new("a", DataType::Int32, true)]);
    decoder.decode(nested(63).as_bytes()).unwrap();
    let error = decoder.decode(nested(64).as_bytes()).unwrap_err();
    assert_eq!(error.reason, "the record is not valid JSON at byte 68: objects and lists are nested more than 64 deep");
    decoder.decode(nested(63).as_bytes()).unwrap();
    let large = format!("{{\"z\":\"{}\"}}", "x".repeat(16 * 1024 * 1024 - 8));
    assert_eq!(large.len(), super::RECORD_BYTES_MAX);
    decoder.decode(large.as_bytes()).unwrap();
    let error = decoder.decode(format!("{large} ").as_bytes()).unwrap_err();
    assert_eq!(error.reason, "the record is larger than 16777216 bytes");

    // 3 bytes an item, but 100 columns each.
    let wide: Fields = (0..100).map(|at| Field::new(format!("c{at}"), DataType::Int64, true)).collect();
    let items = Field::new("a", DataType::List(Arc::new(Field::new_list_field(DataType::Struct(wide), true))), true);
    let mut decoder = self::decoder(&[items]);
    let record = format!("{{\"a\":[{}{{}}]}}", "{},".repeat(50_000));
    let error = decoder.decode(record.as_bytes()).unwrap_err();
    assert!(error.reason.contains(", lists with more than 4194304 values in one record; the schema says"), "{error}");
    assert!(error.reason.len() < 250);
    assert_eq!(decoder.bytes(), 0);
}

#[test]
fn a_reason_quotes_the_beginning_of_a_long_value() {
    let reason = one(&DataType::Int32, &format!("\"{}ü{}\"", "x".repeat(62), "y".repeat(100)));
    assert_eq!(reason, format!("field \"a\" is \"{}…; the schema says int", "x".repeat(62)));
}

#[test]
fn types_that_are_not_decoded_are_refused_at_once() {
    let error =
        JsonDecoder::try_new(&[Field::new("a", DataType::Duration(TimeUnit::Second), true).into()]).unwrap_err();
    assert_eq!(error.primary(), "column \"a\" has type Duration(s), which JSON values are not decoded to");
}

#[test]
fn views_of_short_texts_keep_no_buffer_alive() {
    let mut decoder = decoder(&[Field::new("a", DataType::Utf8View, true)]);
    decoder.decode(br#"{"a":"short"}"#).unwrap();
    assert!(decoder.flush().unwrap().column(0).as_string_view().data_buffers().is_empty());
    decoder.decode(br#"{"a":"not short at all"}"#).unwrap();
    assert_eq!(decoder.flush().unwrap().column(0).as_string_view().data_buffers().len(), 1);
}

#[test]
fn without_columns_records_are_checked_and_counted() {
    let mut decoder = decoder(&[]);
    decoder.decode(br#"{"a":1}"#).unwrap();
    decoder.decode(br#"{"a":1"#).unwrap_err();
    decoder.decode(b"{}").unwrap();
    let batch = decoder.flush().unwrap();
    assert_eq!((batch.num_rows(), batch.num_columns()), (2, 0));
}

fn rows(batch: &RecordBatch) -> Vec<String> {
    (0..batch.num_rows())
        .map(|row| {
            let cells: Vec<_> =
                batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap()).collect();
            cells.join(", ")
        })
        .collect()
}

/// The batch with every view type, also inside lists and structs, made plain: so that two may be compared.
fn without_views(batch: &RecordBatch) -> RecordBatch {
    fn plain(field: &Field) -> Field {
        let data_type = match field.data_type() {
            DataType::Utf8View => DataType::Utf8,
            DataType::BinaryView => DataType::Binary,
            DataType::List(item) => DataType::List(Arc::new(plain(item))),
            DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| plain(field)).collect()),
            other => other.clone(),
        };
        Field::new(field.name(), data_type, field.is_nullable())
    }
    let fields: Vec<Field> = batch.schema().fields().iter().map(|field| plain(field)).collect();
    let columns: Vec<ArrayRef> =
        batch.columns().iter().zip(&fields).map(|(column, field)| cast(column, field.data_type()).unwrap()).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}
