//! Times: how they may be written, how far they may reach, and what is said of those that are not read.

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use proptest::prelude::*;

use super::super::{JsonColumn, JsonDecoder};
use super::{decoder, one, rows, timestamp};
use crate::catalog::TimestampFormat;

const MILLIS: TimeUnit = TimeUnit::Millisecond;

/// What a column `a` of `unit` makes of a value where `format` is declared.
fn declared(format: TimestampFormat, unit: TimeUnit, value: &str) -> String {
    let column = JsonColumn { timestamps: format, ..Field::new("a", timestamp(unit), true).into() };
    let mut decoder = JsonDecoder::try_new(&[column]).unwrap();
    match decoder.decode(format!("{{\"a\":{value}}}").as_bytes()) {
        Ok(()) => rows(&decoder.flush().unwrap()).remove(0),
        Err(error) => error.reason,
    }
}

#[test]
fn a_number_beyond_the_range_is_a_bad_value_that_tells_what_it_may_have_meant() {
    for (unit, value, expected) in [
        (MILLIS, "253402300799999", "9999-12-31T23:59:59.999"),
        (
            MILLIS,
            "253402300800000",
            r#"field "a" is 253402300800000, which as epoch-ms lies outside the years 1 to 9999; the schema says timestamp(3)"#,
        ),
        (MILLIS, "-62135596800000", "0001-01-01T00:00:00"),
        (
            MILLIS,
            "-62135596800001",
            r#"field "a" is -62135596800001, which as epoch-ms lies outside the years 1 to 9999; the schema says timestamp(3)"#,
        ),
        (
            MILLIS,
            "1700000000000000000",
            r#"field "a" is 1700000000000000000, which as epoch-ms lies outside the years 1 to 9999; the schema says timestamp(3); as epoch-ns it would be 2023-11-14T22:13:20Z: if it is, add 'timestamp-format.a' = 'epoch-ns'"#,
        ),
        (
            TimeUnit::Microsecond,
            "1700000000000000",
            r#"field "a" is 1700000000000000, which as epoch-ms lies outside the years 1 to 9999; the schema says timestamp(6); as epoch-us it would be 2023-11-14T22:13:20Z: if it is, add 'timestamp-format.a' = 'epoch-us'"#,
        ),
        (
            TimeUnit::Second,
            "-9223372036854775808",
            r#"field "a" is -9223372036854775808, which as epoch-ms lies outside the years 1 to 9999; the schema says timestamp(0)"#,
        ),
        (
            MILLIS,
            "99999999999999999999",
            r#"field "a" is 99999999999999999999, which as epoch-ms lies outside the years 1 to 9999; the schema says timestamp(3)"#,
        ),
        (
            MILLIS,
            "\"0000-12-31T23:59:59Z\"",
            r#"field "a" is "0000-12-31T23:59:59Z", outside the years 1 to 9999; the schema says timestamp(3)"#,
        ),
        (
            MILLIS,
            "\"9999-12-31T23:00:00-01:00\"",
            r#"field "a" is "9999-12-31T23:00:00-01:00", outside the years 1 to 9999; the schema says timestamp(3)"#,
        ),
    ] {
        assert_eq!(one(&timestamp(unit), value), expected, "{value} as {unit:?}");
    }
}

#[test]
fn a_declared_format_is_the_only_one_that_is_read() {
    use TimestampFormat::{Epoch, Iso8601};
    let at = "2023-11-14T22:13:20";
    let cases: &[(TimestampFormat, TimeUnit, &str, &str)] = &[
        (Epoch(TimeUnit::Second), MILLIS, "1700000000", at),
        (Epoch(TimeUnit::Second), MILLIS, "1700000000.1239", "2023-11-14T22:13:20.123"),
        (Epoch(TimeUnit::Second), MILLIS, "1.7e9", at),
        (Epoch(TimeUnit::Second), MILLIS, "-0.0001", "1969-12-31T23:59:59.999"),
        (Epoch(TimeUnit::Second), TimeUnit::Nanosecond, "1700000000.000000001", "2023-11-14T22:13:20.000000001"),
        (Epoch(MILLIS), TimeUnit::Microsecond, "1700000000000.5", "2023-11-14T22:13:20.000500"),
        (Epoch(TimeUnit::Microsecond), MILLIS, "1700000000000000", at),
        (Epoch(TimeUnit::Nanosecond), MILLIS, "1700000000000000000", at),
        (Epoch(TimeUnit::Nanosecond), TimeUnit::Nanosecond, "1700000000000000000", at),
        (Epoch(TimeUnit::Nanosecond), MILLIS, "-1", "1969-12-31T23:59:59.999"),
        (Iso8601, MILLIS, "\"2023-11-14T22:13:20Z\"", at),
        (
            Iso8601,
            MILLIS,
            "1700000000000",
            r#"field "a" is 1700000000000; the schema says timestamp(3) as iso-8601; as epoch-ms it would be 2023-11-14T22:13:20Z: if it is, add 'timestamp-format.a' = 'epoch-ms'"#,
        ),
        (
            Epoch(TimeUnit::Second),
            MILLIS,
            "\"2023-11-14T22:13:20Z\"",
            r#"field "a" is "2023-11-14T22:13:20Z"; the schema says timestamp(3) as epoch-s"#,
        ),
        (
            Epoch(TimeUnit::Second),
            MILLIS,
            "1700000000000",
            r#"field "a" is 1700000000000, which as epoch-s lies outside the years 1 to 9999; the schema says timestamp(3) as epoch-s; as epoch-ms it would be 2023-11-14T22:13:20Z: if it is, add 'timestamp-format.a' = 'epoch-ms'"#,
        ),
        (
            Epoch(TimeUnit::Second),
            MILLIS,
            "1e999",
            r#"field "a" is 1e999, which as epoch-s lies outside the years 1 to 9999; the schema says timestamp(3) as epoch-s"#,
        ),
        (Epoch(TimeUnit::Second), MILLIS, "null", ""),
    ];
    for (format, unit, value, expected) in cases {
        assert_eq!(declared(*format, *unit, value), *expected, "{value} as {format:?} in {unit:?}");
    }
}

#[test]
fn a_declared_format_holds_inside_lists_and_structs_too() {
    let at = Fields::from(vec![Field::new("at", timestamp(MILLIS), true)]);
    let list = DataType::new_list(DataType::Struct(at), true);
    let format = TimestampFormat::Epoch(TimeUnit::Second);
    let mut decoder =
        JsonDecoder::try_new(&[JsonColumn { timestamps: format, ..Field::new("a", list, true).into() }]).unwrap();
    decoder.decode(br#"{"a":[{"at":1700000000}]}"#).unwrap();
    let error = decoder.decode(br#"{"a":[{"at":1700000000000}]}"#).unwrap_err();
    assert_eq!(error.column.as_deref(), Some("a[0].at"));
    assert!(error.reason.ends_with("add 'timestamp-format.a' = 'epoch-ms'"), "{error}");
    assert_eq!(rows(&decoder.flush().unwrap()), ["[{at: 2023-11-14T22:13:20}]"]);
}

#[test]
fn times_at_whole_minutes_are_read_as_java_prints_them() {
    let time = DataType::Time32(TimeUnit::Second);
    for (data_type, value, expected) in [
        (&time, "\"12:01Z\"", "12:01:00"),
        (&time, "\"12:01\"", "12:01:00"),
        (&time, "\"12:01:30Z\"", "12:01:30"),
        (&time, "\"12:01+02:00\"", r#"field "a" is "12:01+02:00"; the schema says time(0), as 'HH:MM:SS'"#),
        (&timestamp(MILLIS), "\"2026-01-01T12:01Z\"", "2026-01-01T12:01:00"),
        (&timestamp(MILLIS), "\"2026-01-01T12:01\"", "2026-01-01T12:01:00"),
        (&timestamp(MILLIS), "\"2026-01-01T12:01+02:00\"", "2026-01-01T10:01:00"),
    ] {
        assert_eq!(one(data_type, value), expected, "{value}");
    }
}

#[test]
fn the_prefix_of_a_schema_registry_is_told() {
    let mut decoder = decoder(&[Field::new("a", DataType::Int32, true)]);
    let error = decoder.decode(b"\0\0\0\x01\x02{\"a\":1}").unwrap_err();
    assert_eq!(
        error.reason,
        "the record begins with a schema registry's prefix (byte 0, then schema id 258), not with a JSON object; have \
         the producer write plain JSON, by a serializer without a registry"
    );
    assert!(decoder.decode(b"\0\0\0\x01").unwrap_err().reason.contains("not valid JSON at byte 0"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// By the calendar of another implementation: chrono.
    #[test]
    fn every_number_is_the_time_that_it_counts_or_a_bad_value(count in any::<i64>(), shrink in 0u32..40) {
        let count = count >> shrink;
        let formats = TimestampFormat::DECLARED.into_iter().filter_map(|format| Some((format, format.epoch_unit()?)));
        for (format, of) in formats {
            let nanos = i128::from(count) * match of {
                TimeUnit::Second => 1_000_000_000,
                TimeUnit::Millisecond => 1_000_000,
                TimeUnit::Microsecond => 1_000,
                TimeUnit::Nanosecond => 1,
            };
            let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap();
            let time = chrono::DateTime::from_timestamp(seconds, nanos.rem_euclid(1_000_000_000) as u32);
            let time = time.filter(|time| (1..=9999).contains(&chrono::Datelike::year(time)));
            let found = declared(format, TimeUnit::Microsecond, &count.to_string());
            match time {
                Some(time) => {
                    let micros = time.timestamp_micros();
                    let shown = chrono::DateTime::from_timestamp_micros(micros).unwrap();
                    let found = chrono::NaiveDateTime::parse_from_str(&found, "%Y-%m-%dT%H:%M:%S%.f").unwrap();
                    prop_assert_eq!(found, shown.naive_utc());
                }
                None => prop_assert!(found.contains("lies outside the years 1 to 9999"), "{}", found),
            }
        }
    }
}
