//! Maps, JSON kept as text, and defaults: alone, inside other types, and against serde_json.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::{JsonColumn, JsonDecoder};
use super::{decoder, one, rows, timestamp};
use crate::catalog::{Check, JsonPlaces, TimestampFormat};

fn map_of(value: DataType) -> DataType {
    let entry = Fields::from(vec![Field::new("key", DataType::Utf8View, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

#[test]
fn an_object_is_a_map_whose_names_are_keys() {
    let (numbers, nested) = (map_of(DataType::Int64), map_of(map_of(list_of(DataType::Int32))));
    for (data_type, value, expected) in [
        (&numbers, r#"{"a":1,"b":null}"#, "{a: 1, b: }"),
        (&numbers, "{ }", "{}"),
        (&numbers, "null", "NULL"),
        (&numbers, r#"{"":1," ":2,"\u0061\n":3}"#, "{: 1,  : 2, a\n: 3}"),
        (&nested, r#"{"x":{"y":[1,2]},"z":{}}"#, "{x: {y: [1, 2]}, z: {}}"),
        (&numbers, "[1]", r#"field "a" is [1]; the schema says map from varchar to bigint"#),
        (&numbers, r#""a""#, r#"field "a" is "a"; the schema says map from varchar to bigint"#),
        (&numbers, r#"{"a":1,"b c":"x"}"#, r#"field "a.b c" is "x"; the schema says bigint"#),
        (&nested, r#"{"x":{"y":[1,"z"]}}"#, r#"field "a.x.y[1]" is "z"; the schema says int"#),
        (&numbers, r#"{"a":1,}"#, "the record is not valid JSON at byte 12: expected a field name"),
    ] {
        assert_eq!(one(data_type, value), expected, "{value}");
    }
    let error = JsonDecoder::try_new(&[Field::new(
        "a",
        DataType::Map(
            Arc::new(Field::new(
                "entries",
                DataType::Struct(
                    vec![Field::new("key", DataType::Int64, false), Field::new("value", DataType::Int64, true)].into(),
                ),
                false,
            )),
            false,
        ),
        true,
    )
    .into()])
    .unwrap_err();
    assert_eq!(
        error.primary(),
        "column \"a\" has type map from bigint to bigint, which JSON values are not decoded to"
    );
}

#[test]
fn of_a_name_that_occurs_twice_the_last_entry_counts() {
    let numbers = map_of(DataType::Int64);
    assert_eq!(one(&numbers, r#"{"a":1,"b":2,"a":3}"#), "{b: 2, a: 3}");
    assert_eq!(one(&numbers, r#"{"a":1,"\u0061":2}"#), "{a: 2}");
    // Also what would have been no value, and among many.
    assert_eq!(one(&numbers, r#"{"a":"x","a":3}"#), "{a: 3}");
    let many: Vec<String> = (0..100).map(|at| format!("\"k{}\":{at}", at % 10)).collect();
    let last: Vec<String> = (90..100).map(|at| format!("k{}: {at}", at % 10)).collect();
    assert_eq!(one(&numbers, &format!("{{{}}}", many.join(","))), format!("{{{}}}", last.join(", ")));
}

#[test]
fn a_bad_map_leaves_no_trace() {
    let mut decoder = decoder(&[
        Field::new("m", map_of(DataType::Utf8View), true),
        Field::new("s", DataType::Struct(vec![Field::new("m", map_of(DataType::Int32), false)].into()), true),
    ]);
    decoder.decode(br#"{"m":{"a":"a value of some length"},"s":{"m":{"x":1}}}"#).unwrap();
    for bad in
        [r#"{"m":{"b":"lost","c":1}}"#, r#"{"m":{"b":"lost"},"s":{"m":null}}"#, r#"{"m":{"b":"lost"},"s":{"m":{"y":1}"#]
    {
        decoder.decode(bad.as_bytes()).unwrap_err();
    }
    decoder.decode(br#"{"m":null,"s":null}"#).unwrap();
    decoder.decode(br#"{"m":{"d":null}}"#).unwrap();
    let batch = decoder.flush().unwrap();
    assert_eq!(rows(&batch), ["{a: a value of some length}, {m: {x: 1}}", ", ", "{d: }, "]);
    assert_eq!(batch.column(0).as_map().keys().len(), 2);
    assert_eq!(decoder.bytes(), 0);
    // Entries count as items of lists do.
    let wide: Fields = (0..100).map(|at| Field::new(format!("c{at}"), DataType::Int64, true)).collect();
    let mut decoder = self::decoder(&[Field::new("a", map_of(DataType::Struct(wide)), true)]);
    let entries: Vec<String> = (0..50_000).map(|at| format!("\"{at}\":{{}}")).collect();
    let error = decoder.decode(format!("{{\"a\":{{{}}}}}", entries.join(",")).as_bytes()).unwrap_err();
    assert!(error.reason.contains("lists with more than 4194304 values in one record"), "{error}");
}

fn json_column(data_type: DataType, places: &[&[usize]]) -> JsonColumn {
    let json = JsonPlaces(places.iter().map(|place| place.to_vec()).collect());
    JsonColumn { json, ..Field::new("a", data_type, true).into() }
}

/// What such a column makes of values, one row each.
fn all(column: JsonColumn, values: &[&str]) -> Vec<String> {
    let mut decoder = JsonDecoder::try_new(&[column]).unwrap();
    for value in values {
        decoder.decode(format!("{{\"a\":{value} }}").as_bytes()).unwrap_or_else(|error| panic!("{value}: {error}"));
    }
    rows(&decoder.flush().unwrap())
}

#[test]
fn json_of_any_kind_is_kept_as_it_stands() {
    let values = [r#"{"x" : [1, "]"]}"#, "[ ]", r#""text\u0021""#, "1.50e0", "true", "{}"];
    assert_eq!(all(json_column(DataType::Utf8View, &[&[]]), &values), values);
    let mut decoder = JsonDecoder::try_new(&[json_column(DataType::Utf8View, &[&[]])]).unwrap();
    decoder.decode(br#"{"a":null}"#).unwrap();
    decoder.decode(b"{}").unwrap();
    for (value, reason) in [
        ("tru", "the record is not valid JSON at byte 5: expected a value"),
        ("{\"x\":01}", "the record is not valid JSON at byte 11: a number has a leading zero"),
        ("\"\\ud800\"", "the record is not valid JSON at byte 6: a \\u escape is broken or half of a surrogate pair"),
    ] {
        let error = decoder.decode(format!("{{\"a\":{value}}}").as_bytes()).unwrap_err();
        assert_eq!(error.reason, reason);
    }
    assert_eq!(decoder.flush().unwrap().column(0).null_count(), 2);
}

#[test]
fn json_may_stand_inside_structs_lists_and_maps() {
    let fields = Fields::from(vec![Field::new("id", DataType::Int32, true), Field::new("j", DataType::Utf8View, true)]);
    assert_eq!(
        all(json_column(DataType::Struct(fields), &[&[1]]), &[r#"{"id":1,"j":{"x":[true]}}"#, r#"{"j":7}"#]),
        [r#"{id: 1, j: {"x":[true]}}"#, "{id: , j: 7}"]
    );
    assert_eq!(
        all(json_column(list_of(DataType::Utf8View), &[&[0]]), &[r#"[1,"x",null,[2]]"#]),
        [r#"[1, "x", , [2]]"#]
    );
    let deep = map_of(list_of(DataType::Utf8View));
    assert_eq!(all(json_column(deep, &[&[0, 0]]), &[r#"{"k":[false,{"y":1}]}"#]), [r#"{k: [false, {"y":1}]}"#]);
    // Beside it a text is a text.
    let both = Fields::from(vec![Field::new("t", DataType::Utf8View, true), Field::new("j", DataType::Utf8View, true)]);
    let mut decoder = JsonDecoder::try_new(&[json_column(DataType::Struct(both), &[&[1]])]).unwrap();
    let error = decoder.decode(br#"{"a":{"t":1,"j":1}}"#).unwrap_err();
    assert_eq!(error.reason, r#"field "a.t" is 1; the schema says varchar"#);
}

fn with_default(data_type: DataType, nullable: bool, default: &str, null_is_default: bool) -> JsonColumn {
    JsonColumn { default: Some(default.to_owned()), null_is_default, ..Field::new("a", data_type, nullable).into() }
}

#[test]
fn a_default_stands_for_a_field_that_is_missing_and_for_a_null_where_declared() {
    for (data_type, default, shown) in [
        (DataType::Boolean, "true", "true"),
        (DataType::Int8, "-1", "-1"),
        (DataType::Int16, "2", "2"),
        (DataType::Int32, "3", "3"),
        (DataType::Int64, "4", "4"),
        (DataType::UInt8, "5", "5"),
        (DataType::UInt16, "6", "6"),
        (DataType::UInt32, "7", "7"),
        (DataType::UInt64, "8", "8"),
        (DataType::Float32, "0.5", "0.5"),
        (DataType::Float64, "0.1", "0.1"),
        (DataType::Decimal128(12, 2), "1.5", "1.50"),
        (DataType::Date32, "\"2026-01-02\"", "2026-01-02"),
        (DataType::Time32(TimeUnit::Second), "\"12:00:01\"", "12:00:01"),
        (DataType::Time64(TimeUnit::Nanosecond), "\"12:00:01\"", "12:00:01"),
        (timestamp(TimeUnit::Millisecond), "\"2026-01-02T03:04:05Z\"", "2026-01-02T03:04:05"),
        (DataType::Utf8View, "\"a \\u0022default\\u0022\"", "a \"default\""),
        (DataType::Binary, "\"AP8=\"", "00ff"),
        (list_of(DataType::Utf8View), "[\"x\",null,\"y\"]", "[x, , y]"),
        (map_of(list_of(DataType::Int32)), "{\"k\":[1],\"l\":null}", "{k: [1], l: }"),
        (DataType::Struct(vec![Field::new("x", DataType::Int32, true)].into()), "{\"x\":1}", "{x: 1}"),
    ] {
        for for_null in [false, true] {
            let mut decoder = JsonDecoder::try_new(&[
                with_default(data_type.clone(), true, default, for_null),
                Field::new("b", DataType::Int32, true).into(),
            ])
            .unwrap();
            for record in ["{}", r#"{"b":1}"#, r#"{"a":null}"#, "{}"] {
                decoder.decode(record.as_bytes()).unwrap();
            }
            // What is bad elsewhere takes the default back.
            decoder.decode(br#"{"b":"x"}"#).unwrap_err();
            let of_null = if for_null { shown } else { "" };
            let expected = [format!("{shown}, "), format!("{shown}, 1"), format!("{of_null}, "), format!("{shown}, ")];
            assert_eq!(rows(&decoder.flush().unwrap()), expected, "{data_type}");
        }
    }
}

#[test]
fn a_column_that_is_not_null_has_its_default_or_a_bad_row() {
    let mut decoder = JsonDecoder::try_new(&[with_default(DataType::Int32, false, "7", false)]).unwrap();
    decoder.decode(b"{}").unwrap();
    let error = decoder.decode(br#"{"a":null}"#).unwrap_err();
    assert_eq!(error.reason, r#"field "a" is null; the schema says not null"#);
    assert_eq!(rows(&decoder.flush().unwrap()), ["7"]);
    let mut decoder = JsonDecoder::try_new(&[with_default(DataType::Int32, false, "7", true)]).unwrap();
    decoder.decode(br#"{"a":null}"#).unwrap();
    assert_eq!(rows(&decoder.flush().unwrap()), ["7"]);
}

#[test]
fn a_default_is_one_of_the_columns_values_in_whatever_form_times_are_written() {
    // Numbers are times in the records, and the default is one all the same.
    let column = JsonColumn {
        timestamps: TimestampFormat::Epoch(TimeUnit::Second),
        ..with_default(timestamp(TimeUnit::Millisecond), true, "\"2026-01-02T03:04:05Z\"", false)
    };
    assert_eq!(all(column, &["1767323045"]), ["2026-01-02T03:04:05"]);
    for (data_type, default) in [
        (DataType::Int32, "\"x\""),
        (DataType::Int32, "1 2"),
        (DataType::Int32, ""),
        (DataType::Utf8View, "1"),
        (DataType::Int8, "300"),
    ] {
        let error = JsonDecoder::try_new(&[with_default(data_type, true, default, false)]).unwrap_err();
        assert_eq!(error.primary(), "the default of column \"a\" is no value of it");
    }
    let checked = JsonColumn { checks: vec![Check::uuid()], ..with_default(DataType::Utf8View, true, "\"x\"", false) };
    assert!(JsonDecoder::try_new(&[checked]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_map_has_what_serde_json_has_of_the_object(
        entries in prop::collection::vec(("[ab\"\\\\é\n]{0,2}", prop::option::of(any::<i64>())), 0..24),
        pretty: bool,
    ) {
        // By hand, for serde_json writes no name twice.
        let space = if pretty { " \n" } else { "" };
        let text: Vec<String> = entries
            .iter()
            .map(|(name, value)| format!("{space}{}{space}:{space}{}", json!(name), json!(value)))
            .collect();
        let record = format!("{{\"a\":{{{}{space}}}}}", text.join(","));
        let expected: Map<String, Value> = serde_json::from_str::<Value>(&record).unwrap()["a"].as_object().unwrap().clone();
        let mut decoder = decoder(&[Field::new("a", map_of(DataType::Int64), true)]);
        decoder.decode(record.as_bytes()).unwrap();
        let batch = decoder.flush().unwrap();
        let map = batch.column(0).as_map();
        let values = map.values().as_primitive::<arrow::datatypes::Int64Type>();
        let found: Map<String, Value> =
            map.keys().as_string_view().iter().zip(values).map(|(key, value)| (key.unwrap().to_owned(), json!(value))).collect();
        prop_assert_eq!(map.keys().len(), expected.len());
        prop_assert_eq!(found, expected);
    }
}
