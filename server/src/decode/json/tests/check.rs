//! Values that the schema forbids: refused with their reason, and without a trace.

use arrow::array::Array;
use arrow::datatypes::DataType;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{JsonColumn, JsonDecoder, refusal};
use super::rows;
use crate::catalog::{Column, Statement};
use crate::sql::{parse_file, report};

/// The columns of a table as a statement declares them.
fn columns(elements: &str) -> Vec<Column> {
    let text = format!("CREATE TABLE t ({elements}) WITH ('connector' = 'kafka', 'topic' = 't')");
    match parse_file("t.sql", &text).unwrap_or_else(|errors| panic!("{}", report(&errors))).pop() {
        Some(Statement::CreateTable(table)) => table.columns,
        other => panic!("not a table: {other:?}"),
    }
}

fn decoder(elements: &str) -> JsonDecoder {
    let json = |column: Column| JsonColumn { checks: column.checks.clone(), ..column.field().into() };
    JsonDecoder::try_new(&columns(elements).into_iter().map(json).collect::<Vec<_>>()).unwrap()
}

/// The reason for which column `a` refuses a value; empty where it does not.
fn reason(element: &str, value: &str) -> String {
    let mut decoder = decoder(element);
    let decoded = decoder.decode(format!("{{\"a\":{value}}}").as_bytes());
    assert_eq!(decoder.flush().unwrap().num_rows(), usize::from(decoded.is_ok()));
    decoded.map_or_else(|error| error.reason, |()| String::new())
}

#[test]
fn each_kind_of_check_refuses_what_lies_beyond_it() {
    for (element, value, expected) in [
        ("a INT CHECK (a BETWEEN 0 AND 120)", "0", ""),
        ("a INT CHECK (a BETWEEN 0 AND 120)", "120", ""),
        ("a INT CHECK (a BETWEEN 0 AND 120)", "121", r#"field "a" is 121; the schema says between 0 and 120"#),
        ("a INT CHECK (a BETWEEN 0 AND 120)", "-1", r#"field "a" is -1; the schema says between 0 and 120"#),
        ("a INT CHECK (a BETWEEN 0 AND 120)", "2e2", r#"field "a" is 2e2; the schema says between 0 and 120"#),
        ("a INT CHECK (a BETWEEN 0 AND 120)", "null", ""),
        ("a INT CHECK (a BETWEEN 0 AND 120)", "\"x\"", r#"field "a" is "x"; the schema says int"#),
        ("a INT NOT NULL CHECK (a > 0)", "null", r#"field "a" is null; the schema says not null"#),
        ("a INT CHECK (a >= 0) CHECK (a <= 9)", "10", r#"field "a" is 10; the schema says at most 9"#),
        ("a INT CHECK (a >= 0) CHECK (a <= 9)", "-10", r#"field "a" is -10; the schema says at least 0"#),
        ("a SMALLINT UNSIGNED CHECK (a <> 7)", "7", r#"field "a" is 7; the schema says not 7"#),
        ("a BIGINT UNSIGNED CHECK (a < 18446744073709551615)", "18446744073709551614", ""),
        ("a TINYINT CHECK (a = -128)", "-128", ""),
        ("a DOUBLE CHECK (a < 0.5)", "0.49999999999999994", ""),
        ("a DOUBLE CHECK (a < 0.5)", "0.5", r#"field "a" is 0.5; the schema says below 0.5"#),
        ("a REAL CHECK (a <= 0.1)", "0.1", ""),
        ("a DECIMAL(5, 2) CHECK (a > 1.5)", "1.51", ""),
        ("a DECIMAL(5, 2) CHECK (a > 1.5)", "\"1.5\"", r#"field "a" is "1.5"; the schema says above 1.5"#),
        ("a DATE CHECK (a >= '2020-01-01')", "\"2020-01-01\"", ""),
        (
            "a DATE CHECK (a >= '2020-01-01')",
            "\"2019-12-31\"",
            r#"field "a" is "2019-12-31"; the schema says at least '2020-01-01'"#,
        ),
        ("a TIMESTAMP(3) CHECK (a > '1970-01-01 00:00:01')", "1001", ""),
        (
            "a TIMESTAMP(3) CHECK (a > '1970-01-01 00:00:01')",
            "1000",
            r#"field "a" is 1000; the schema says above '1970-01-01 00:00:01'"#,
        ),
        ("a TIME CHECK (a < '12:00:00')", "\"11:59:59.999999999\"", ""),
        ("a VARCHAR CHECK (a IN ('click', 'comment'))", "\"comment\"", ""),
        ("a VARCHAR CHECK (a IN ('click', 'comment'))", r#""c\u006cick""#, ""),
        (
            "a VARCHAR CHECK (a IN ('click', 'comment'))",
            "\"dance\"",
            r#"field "a" is "dance"; the schema says one of 'click', 'comment'"#,
        ),
        (
            "a VARCHAR CHECK (a IN ('click', 'comment'))",
            "\"\"",
            r#"field "a" is ""; the schema says one of 'click', 'comment'"#,
        ),
        (
            "a VARCHAR CHECK (a IN ('click', 'comment'))",
            "[]",
            r#"field "a" is []; the schema says one of 'click', 'comment'"#,
        ),
        ("a VARCHAR CHECK (length(a) = 2)", "\"üß\"", ""),
        ("a VARCHAR CHECK (length(a) = 2)", "\"DEU\"", r#"field "a" is "DEU"; the schema says length 2"#),
        ("a VARCHAR(5)", "\"Größe\"", ""),
        ("a VARCHAR(5)", "\"Größen\"", r#"field "a" is "Größen"; the schema says varchar(5)"#),
        ("a CHAR(1)", "\"⚽\"", ""),
        ("a CHAR(1)", "\"ab\"", r#"field "a" is "ab"; the schema says char(1)"#),
        ("a VARCHAR(5) CHECK (a <> '')", "\"\"", r#"field "a" is ""; the schema says not ''"#),
        ("a UUID", "\"0f9ea7d6-41be-4c0f-a1b2-99aaff001122\"", ""),
        ("a UUID", "\"0f9ea7d6\"", r#"field "a" is "0f9ea7d6"; the schema says uuid"#),
        ("a UUID", "12", r#"field "a" is 12; the schema says uuid"#),
        ("a UUID", "null", ""),
    ] {
        assert_eq!(reason(element, value), expected, "{element}: {value}");
    }
}

#[test]
fn long_values_and_long_lists_are_cut_in_the_reason() {
    let list = (0..100).map(|one| format!("'kind number {one}'")).collect::<Vec<_>>().join(", ");
    let element = format!("a VARCHAR CHECK (a IN ({list}))");
    let found = reason(&element, &format!("\"{}\"", "x".repeat(1_000)));
    assert!(found.starts_with("field \"a\" is \"xxxx") && found.ends_with("'kind number 5', …"), "{found}");
    assert!(found.len() < 250, "{found}");
    assert_eq!(reason(&element, "\"kind number 99\""), "");
}

#[test]
fn a_row_that_fails_a_check_leaves_no_trace() {
    let mut decoder = decoder(
        "id BIGINT, tags VARCHAR[], place STRUCT<name VARCHAR, x INT>, minute INT CHECK (minute <= 120), \
         kind VARCHAR CHECK (kind IN ('a', 'a text of more than twelve bytes')), last BOOLEAN",
    );
    let record = |id: u32, minute: u32, kind: &str| {
        format!(
            "{{\"id\":{id},\"tags\":[\"x\",\"y\"],\"place\":{{\"name\":\"n{id}\",\"x\":1}},\"minute\":{minute},\
             \"kind\":\"{kind}\",\"last\":true}}"
        )
    };
    decoder.decode(record(1, 120, "a").as_bytes()).unwrap();
    let error = decoder.decode(record(2, 121, "a").as_bytes()).unwrap_err();
    assert_eq!(error.column.as_deref(), Some("minute"));
    let error = decoder.decode(record(3, 1, "b").as_bytes()).unwrap_err();
    assert_eq!(error.column.as_deref(), Some("kind"));
    // The last one of a repeated field counts, and the ones before must be values too.
    decoder.decode(b"{\"minute\":200,\"minute\":20}").unwrap_err();
    decoder.decode(b"{\"minute\":2,\"minute\":3,\"id\":4}").unwrap();
    decoder.decode(record(5, 0, "a text of more than twelve bytes").as_bytes()).unwrap();
    assert_eq!(
        rows(&decoder.flush().unwrap()),
        [
            "1, [x, y], {name: n1, x: 1}, 120, a, true",
            "4, , , 3, , ",
            "5, [x, y], {name: n5, x: 1}, 0, a text of more than twelve bytes, true",
        ]
    );
    assert_eq!(decoder.bytes(), 0);
}

/// A comparison as text, and whether a value of the column meets it, reckoned in the plainest way.
#[derive(Debug, Clone)]
enum Condition {
    In(Vec<i64>),
    Between(i64, i64),
    Compare(&'static str, i64),
}

impl Condition {
    fn sql(&self, subject: &str, constant: impl Fn(i64) -> String) -> String {
        match self {
            Condition::In(list) => {
                format!("{subject} IN ({})", list.iter().map(|one| constant(*one)).collect::<Vec<_>>().join(", "))
            }
            Condition::Between(low, high) => format!("{subject} BETWEEN {} AND {}", constant(*low), constant(*high)),
            Condition::Compare(op, one) => format!("{subject} {op} {}", constant(*one)),
        }
    }

    fn holds<T: PartialOrd>(&self, value: &T, constant: impl Fn(i64) -> T) -> bool {
        match self {
            Condition::In(list) => list.iter().any(|one| constant(*one) == *value),
            Condition::Between(low, high) => constant(*low) <= *value && *value <= constant(*high),
            Condition::Compare("=", one) => *value == constant(*one),
            Condition::Compare("<>", one) => *value != constant(*one),
            Condition::Compare("<", one) => *value < constant(*one),
            Condition::Compare("<=", one) => *value <= constant(*one),
            Condition::Compare(">", one) => *value > constant(*one),
            Condition::Compare(_, one) => *value >= constant(*one),
        }
    }
}

fn any_condition() -> impl Strategy<Value = Condition> {
    let number = -8i64..8;
    prop_oneof![
        prop::collection::vec(number.clone(), 1..30).prop_map(Condition::In),
        (number.clone(), number.clone()).prop_map(|(a, b)| Condition::Between(a.min(b), a.max(b))),
        (prop::sample::select(&["=", "<>", "<", "<=", ">", ">="][..]), number)
            .prop_map(|(op, one)| Condition::Compare(op, one)),
    ]
}

/// Numbers from -9 as texts in the same order, of different lengths.
fn letters(number: i64) -> String {
    let at = usize::try_from(number + 9).unwrap();
    let letter = char::from(b'a' + u8::try_from(at).unwrap());
    std::iter::repeat_n(letter, 1 + at % 3).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_and_arrays_are_judged_as_the_plain_reckoning_says(
        conditions in prop::collection::vec(any_condition(), 1..4),
        values in prop::collection::vec(prop::option::weighted(0.9, -9i64..9), 1..60),
    ) {
        let sql = |subject: &str, constant: &dyn Fn(i64) -> String| {
            conditions.iter().map(|one| one.sql(subject, constant)).collect::<Vec<_>>().join(" AND ")
        };
        let number = |one: i64| one.to_string();
        let halved = |one: i64| one as f64 / 2.0;
        let half = |one: i64| halved(one).to_string();
        let text = |one: i64| format!("'{}'", letters(one));
        type Case<'a> = (String, Box<dyn Fn(i64) -> Value + 'a>, Box<dyn Fn(i64) -> bool + 'a>);
        let cases: Vec<Case<'_>> = vec![
            (
                format!("a INT CHECK ({})", sql("a", &number)),
                Box::new(|one| json!(one)),
                Box::new(|one| conditions.iter().all(|condition| condition.holds(&one, |one| one))),
            ),
            (
                format!("a DOUBLE CHECK ({})", sql("a", &half)),
                Box::new(|one| json!(halved(one))),
                Box::new(|one| conditions.iter().all(|condition| condition.holds(&halved(one), halved))),
            ),
            (
                format!("a DECIMAL(9, 3) CHECK ({})", sql("a", &half)),
                Box::new(|one| json!(halved(one))),
                Box::new(|one| conditions.iter().all(|condition| condition.holds(&halved(one), halved))),
            ),
            (
                format!("a VARCHAR CHECK ({})", sql("a", &text)),
                Box::new(|one| json!(letters(one))),
                Box::new(|one| conditions.iter().all(|condition| condition.holds(&letters(one), letters))),
            ),
            (
                format!("a VARCHAR CHECK ({})", sql("length(a)", &number)),
                Box::new(|one| json!("ü".repeat(usize::try_from(one.max(0)).unwrap()))),
                Box::new(|one| conditions.iter().all(|condition| condition.holds(&one.max(0), |one| one))),
            ),
        ];
        for (element, as_json, passes) in &cases {
            let mut checked = decoder(element);
            let column = columns(element).remove(0);
            let mut unchecked =
                JsonDecoder::try_new(&[column.field().into()]).unwrap();
            let mut reasons = Vec::new();
            let mut expected = Vec::new();
            for (row, value) in values.iter().enumerate() {
                let record = json!({ "a": value.map(as_json) }).to_string();
                unchecked.decode(record.as_bytes()).unwrap();
                let decoded = checked.decode(record.as_bytes());
                prop_assert_eq!(decoded.is_ok(), value.is_none_or(passes), "{} in {}", record, element);
                match decoded {
                    Ok(()) => expected.push(*value),
                    Err(error) => reasons.push((row, error.reason)),
                }
            }
            let checked = checked.flush().unwrap();
            prop_assert_eq!(checked.num_rows(), expected.len());
            let all = unchecked.flush().unwrap();
            let array = all.column(0);
            let mut refused: Vec<(usize, String)> = Vec::new();
            for row in 0..array.len() {
                if let Some(check) = column.checks.iter().find(|check| check.refused(&array.slice(row, 1)) == [0]) {
                    refused.push((row, refusal("a", check, array, row)));
                }
            }
            let rows = |reasons: &[(usize, String)]| reasons.iter().map(|(row, _)| *row).collect::<Vec<_>>();
            prop_assert_eq!(rows(&refused), rows(&reasons), "{}", element);
            // Numbers may be spelt otherwise in the record.
            if matches!(array.data_type(), DataType::Int32 | DataType::Utf8View) {
                prop_assert_eq!(refused, reasons, "{}", element);
            }
        }
    }
}
