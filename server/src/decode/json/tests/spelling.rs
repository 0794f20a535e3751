//! Field names that are a column's but for their capitals.

use arrow::datatypes::{DataType, Field, Fields};
use proptest::prelude::*;

use super::super::{JsonColumn, JsonDecoder};
use super::{decoder, rows};

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8View, true)
}

/// The rows, or the reason of the first record that is none.
fn decoded(decoder: &mut JsonDecoder, records: &[&str]) -> Vec<String> {
    for record in records {
        if let Err(error) = decoder.decode(record.as_bytes()) {
            decoder.flush().unwrap();
            return vec![error.reason];
        }
    }
    rows(&decoder.flush().unwrap())
}

#[test]
fn a_field_is_the_column_that_differs_in_capitals_alone() {
    let mut decoder = decoder(&[text("orderid"), text("größe")]);
    let records = [
        r#"{"orderId":"a","Größe":"1"}"#,
        r#"{"ORDERID":"b","GRÖSSE":"no ß","GRÖßE":"2"}"#,
        r#"{"order\u0049d":"c","gr\u00d6ße":"3"}"#,
        r#"{ "orderid" : "d" , "größe" : "4" }"#,
        r#"{"orderId":"e","Größe":null}"#,
    ];
    // Twice: as it is learned, and as it is remembered.
    for _ in 0..2 {
        assert_eq!(decoded(&mut decoder, &records), ["a, 1", "b, 2", "c, 3", "d, 4", "e, "]);
    }
}

#[test]
fn the_exact_name_counts_wherever_it_stands() {
    let mut decoder = decoder(&[Field::new("id", DataType::Int64, false)]);
    for record in [r#"{"ID":"no number","id":1}"#, r#"{"id":1,"ID":"no number"}"#, r#"{"Id":2,"id":1,"iD":{}}"#] {
        assert_eq!(decoded(&mut decoder, &[record]), ["1"], "{record}");
    }
    // Broken JSON is broken also where nobody reads it.
    assert!(decoder.decode(br#"{"ID":tru,"id":1}"#).is_err());
}

#[test]
fn an_alias_is_as_good_as_the_name() {
    let column = JsonColumn { aliases: vec!["orderId".into()], ..text("order").into() };
    let mut decoder = JsonDecoder::try_new(&[column]).unwrap();
    assert_eq!(decoded(&mut decoder, &[r#"{"ORDERID":"a"}"#, r#"{"Order":"b"}"#]), ["a", "b"]);
}

#[test]
fn two_spellings_in_one_record_are_a_bad_row_and_one_of_them_twice_is_not() {
    let mut decoder = decoder(&[text("orderid"), text("b")]);
    assert_eq!(
        decoded(&mut decoder, &[r#"{"orderId":"a","b":"x","OrderID":"c"}"#]),
        [r#"field "orderid" is spelled "orderId" and "OrderID" in one record: add the right one to 'aliases.orderid'"#]
    );
    assert_eq!(decoded(&mut decoder, &[r#"{"orderId":"a","b":"x","order\u0049d":"c"}"#]), ["c, x"]);
    assert_eq!(decoded(&mut decoder, &[r#"{"orderId":"a","OrderID":"c","orderid":"d"}"#]), ["d, "]);
}

#[test]
fn where_two_columns_differ_in_capitals_alone_only_exact_names_count() {
    let mut both = decoder(&[text("orderid"), text("orderId")]);
    let records = [r#"{"orderId":"a","OrderId":"x"}"#, r#"{"orderid":"b"}"#];
    assert_eq!(decoded(&mut both, &records), [", a", "b, "]);
    // The same where the other column is not read.
    let mut alone = decoder(&[text("orderid")]).beside(["orderId"]);
    assert_eq!(decoded(&mut alone, &records), ["", "b"]);
}

#[test]
fn a_missing_field_names_the_spelling_that_may_be_meant() {
    let missing = |name: &str| Field::new(name, DataType::Utf8View, false);
    let mut decoder = decoder(&[missing("order_id"), text("b")]).beside(["order-id"]);
    for (record, expected) in [
        (
            r#"{"b":"x","orderId":"a"}"#,
            r#"field "order_id" is missing; the schema says not null; the record has "orderId": if that is it, add 'aliases.order_id' = 'orderId'"#,
        ),
        // Another column's.
        (r#"{"b":"x","order-id":"a"}"#, r#"field "order_id" is missing; the schema says not null"#),
        (r#"{}"#, r#"field "order_id" is missing; the schema says not null"#),
        (r#"{"order_id":null,"orderId":"a"}"#, r#"field "order_id" is null; the schema says not null"#),
    ] {
        assert_eq!(decoded(&mut decoder, &[record]), [expected], "{record}");
    }

    let place = DataType::Struct(Fields::from(vec![missing("shirt_no")]));
    let mut decoder = self::decoder(&[Field::new("player", place, true)]);
    assert_eq!(decoded(&mut decoder, &[r#"{"Player":{"SHIRT_NO":"9"}}"#]), ["{shirt_no: 9}"]);
    assert_eq!(
        decoded(&mut decoder, &[r#"{"player":{"shirtNo":"9"}}"#]),
        [
            r#"field "player.shirt_no" is missing; the schema says not null; the record has "shirtNo": if that is it, declare the field by that name"#
        ]
    );
}

// Names beyond those that are remembered, and longer ones.
#[test]
fn what_a_name_means_does_not_depend_on_what_was_seen_before() {
    let long = "l".repeat(200);
    let mut decoder = decoder(&[text("orderid"), text(&long)]);
    let record = format!(r#"{{"orderId":"a","{}":"b"}}"#, long.to_uppercase());
    assert_eq!(decoded(&mut decoder, &[&record]), ["a, b"]);
    for stranger in 0..3_000 {
        decoder.decode(format!(r#"{{"s{stranger}":0}}"#).as_bytes()).unwrap();
    }
    decoder.flush().unwrap();
    assert_eq!(decoded(&mut decoder, &[&record, r#"{"ORDERid":"c"}"#]), ["a, b", "c, "]);
    assert_eq!(decoded(&mut decoder, &[r#"{"ORDERid":"c","OrDERid":"d"}"#]).len(), 1);
    let twice = decoder.decode(br#"{"ORDERid":"c","OrDERid":"d"}"#).unwrap_err();
    assert!(twice.reason.contains("is spelled"), "{twice}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against the rule as it is said: exact, else one other spelling.
    #[test]
    fn names_mean_what_the_rule_says(fields in proptest::collection::vec(("[abAB]{1,2}", 0u8..9), 0..6)) {
        let names = ["a", "b", "ab", "aB"];
        let mut decoder = decoder(&names.map(text));
        let members: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
        let record = format!("{{{}}}", members.join(","));
        let mut expected = Vec::new();
        let mut bad = false;
        for name in names {
            let exact = fields.iter().rev().find(|(field, _)| field == name);
            let alone = names.iter().filter(|other| other.eq_ignore_ascii_case(name)).count() == 1;
            let near: Vec<_> = fields.iter().filter(|(field, _)| alone && field.eq_ignore_ascii_case(name)).collect();
            bad |= exact.is_none() && near.iter().any(|(field, _)| *field != near[0].0);
            expected.push(exact.or(near.last().copied()).map_or(String::new(), |(_, value)| value.to_string()));
        }
        for _ in 0..2 {
            match decoder.decode(record.as_bytes()) {
                Ok(()) => {
                    prop_assert!(!bad, "{}", record);
                    prop_assert_eq!(rows(&decoder.flush().unwrap()), [expected.join(", ")]);
                }
                Err(error) => prop_assert!(bad && error.reason.contains("is spelled"), "{}: {}", record, error),
            }
        }
    }
}
