//! What a CHECK may say, and the words for what it may not.

use proptest::prelude::*;

use crate::catalog::{Statement, TableDef};
use crate::sql::{parse_file, report};

fn table(elements: &str) -> Result<TableDef, String> {
    let text = format!("CREATE TABLE t ({elements}) WITH ('connector' = 'kafka', 'topic' = 't')");
    match parse_file("t.sql", &text).map_err(|errors| report(&errors))?.pop() {
        Some(Statement::CreateTable(table)) => Ok(table),
        other => panic!("not a table: {other:?}"),
    }
}

/// What the checks of the first column say.
fn says(elements: &str) -> Vec<String> {
    let table = table(elements).unwrap_or_else(|report| panic!("{elements}: {report}"));
    table.columns[0].checks.iter().map(|check| check.says().to_owned()).collect()
}

#[test]
fn every_form_is_read() {
    for (elements, want) in [
        ("a INT CHECK (a BETWEEN 0 AND 120)", &["between 0 and 120"][..]),
        ("a INT CHECK (a >= -5 AND a < +5) NOT NULL", &["at least -5", "below +5"]),
        ("a INT NOT NULL CHECK (0 < a) CHECK (10 >= a)", &["above 0", "at most 10"]),
        ("a INT, b INT, CHECK (((a) IN (1, (2))) AND (a <> 3 AND a != 4))", &["one of 1, 2", "not 3", "not 4"]),
        ("a INT CHECK (a = 7)", &["7"]),
        ("a TINYINT CHECK (a BETWEEN -128 AND 127)", &["between -128 and 127"]),
        ("a DOUBLE CHECK (a BETWEEN .5 AND 1e3)", &["between .5 and 1e3"]),
        ("a REAL CHECK (a <= 007.25)", &["at most 007.25"]),
        ("a DECIMAL(5, 2) CHECK (a > 0.05)", &["above 0.05"]),
        ("a VARCHAR CHECK (a IN ('x', 'it''s'))", &["one of 'x', 'it''s'"]),
        ("\"A\" VARCHAR CHECK (\"A\" <> '')", &["not ''"]),
        ("a VARCHAR CHECK (length(a) BETWEEN 1 AND 3)", &["length between 1 and 3"]),
        ("a VARCHAR CHECK (CHAR_LENGTH(A) <= 3 AND a <> 'xxx')", &["length at most 3", "not 'xxx'"]),
        ("a VARCHAR CHECK (4 = character_length(a))", &["length 4"]),
        (
            "a DATE CHECK (a >= '2020-01-01' AND a < DATE '2030-01-01')",
            &["at least '2020-01-01'", "below DATE '2030-01-01'"],
        ),
        ("a TIMESTAMP(3) CHECK (a > TIMESTAMP '2020-01-01 00:00:00')", &["above TIMESTAMP '2020-01-01 00:00:00'"]),
        ("a TIME CHECK (a < '12:00:00')", &["below '12:00:00'"]),
        ("a UUID", &["uuid"]),
        (
            "a UUID NOT NULL CHECK (a <> '00000000-0000-0000-0000-000000000000')",
            &["uuid", "not '00000000-0000-0000-0000-000000000000'"],
        ),
        // Still names.
        ("check INT CHECK (check > 0), uuid VARCHAR", &["above 0"]),
    ] {
        assert_eq!(says(elements), want, "{elements}");
    }
}

#[test]
fn constants_become_values_of_the_columns_type() {
    let passes = |elements: &str, value: i128| {
        let table = table(elements).unwrap_or_else(|report| panic!("{report}"));
        table.columns[0].checks.iter().all(|check| check.whole_passes(value))
    };
    assert!(passes("a DECIMAL(5, 2) CHECK (a = 1.5)", 150));
    assert!(!passes("a DECIMAL(5, 2) CHECK (a = 1.5)", 15));
    assert!(passes("a TIMESTAMP(3) CHECK (a = '1970-01-01T00:00:01.5Z')", 1_500));
    assert!(passes("a TIMESTAMP(6) CHECK (a = '1970-01-01 00:00:01.5')", 1_500_000));
    assert!(passes("a DATE CHECK (a = DATE '1970-01-03')", 2));
    assert!(passes("a BIGINT CHECK (a = 1e3)", 1_000));
}

#[test]
fn each_mistake_has_its_own_words_and_place() {
    const REST: &str = "\n  detail: a CHECK compares one column, or length(column), with constants: IN (…), BETWEEN … AND …, =, <>, \
         <, <=, >, >=, and AND between them\n  hint: put it into the WHERE of the queries";
    let mut wrong = String::new();
    for (elements, want) in [
        ("a INT CHECK (a IN (1) OR a > 5)", format!("t.sql:1:30: a CHECK cannot say a IN (1) OR a > 5{REST}")),
        ("a INT CHECK (a > 0 AND a % 2 = 0)", format!("t.sql:1:40: a CHECK cannot say a % 2 = 0{REST}")),
        ("a INT CHECK (a NOT IN (1))", format!("t.sql:1:30: a CHECK cannot say a NOT IN (1){REST}")),
        ("a INT CHECK (a IS NOT NULL)", format!("t.sql:1:30: a CHECK cannot say a IS NOT NULL{REST}")),
        ("a INT CHECK (a NOT BETWEEN 1 AND 2)", format!("t.sql:1:30: a CHECK cannot say a NOT BETWEEN 1 AND 2{REST}")),
        ("a INT, b INT, CHECK (a < b)", format!("t.sql:1:38: a CHECK cannot say a < b{REST}")),
        ("a VARCHAR CHECK (lower(a) = 'x')", format!("t.sql:1:34: a CHECK cannot say lower(a) = 'x'{REST}")),
        ("a VARCHAR CHECK (a LIKE 'x%')", format!("t.sql:1:34: a CHECK cannot say a LIKE 'x%'{REST}")),
        ("a STRUCT<b INT> CHECK (a.b > 0)", format!("t.sql:1:40: a CHECK cannot say a.b > 0{REST}")),
        ("a INT CHECK (1 = 1)", format!("t.sql:1:30: a CHECK cannot say 1 = 1{REST}")),
        ("a DATE CHECK (a < now())", format!("t.sql:1:31: a CHECK cannot say a < now(){REST}")),
        (
            "minute INT CHECK (minute IN (1, 'a'))",
            "t.sql:1:49: 'a' cannot be compared with column \"minute\", which is int\n  hint: write a constant of that type".into(),
        ),
        (
            "a TINYINT CHECK (a <= 1000)",
            "t.sql:1:39: 1000 cannot be compared with column \"a\", which is tinyint\n  detail: in a record it would be \
             refused: field \"a\" is 1000, out of range; the schema says tinyint\n  hint: write a constant of that type".into(),
        ),
        (
            "a INT CHECK (a > -1.5)",
            "t.sql:1:35: -1.5 cannot be compared with column \"a\", which is int\n  detail: in a record it would be \
             refused: field \"a\" is -1.5, not a whole number; the schema says int\n  hint: write a constant of that type".into(),
        ),
        (
            "a VARCHAR CHECK (a = 12)",
            "t.sql:1:38: 12 cannot be compared with column \"a\", which is varchar\n  hint: write a constant of that type".into(),
        ),
        (
            "a TIMESTAMP(3) CHECK (a > 12)",
            "t.sql:1:43: 12 cannot be compared with column \"a\", which is timestamp(3)\n  hint: write a constant of that type".into(),
        ),
        (
            "a VARCHAR CHECK (a = TIMESTAMP '2020-01-01 00:00:00')",
            "t.sql:1:48: TIMESTAMP '2020-01-01 00:00:00' cannot be compared with column \"a\", which is varchar\n  hint: write a \
             constant of that type".into(),
        ),
        (
            "a UUID CHECK (a <> 'x')",
            "t.sql:1:36: 'x' cannot be compared with column \"a\", which is uuid\n  detail: in a record it would be refused: \
             field \"a\" is \"x\"; the schema says uuid\n  hint: write a constant of that type".into(),
        ),
        (
            "a VARCHAR CHECK (length(a) > 'x')",
            "t.sql:1:46: 'x' cannot be compared with length(\"a\"), which is bigint\n  hint: write a constant of that type".into(),
        ),
        (
            "a INT CHECK (a IN (1, NULL))",
            "t.sql:1:39: NULL in a CHECK would let every value pass\n  hint: leave it out: NULL passes anyway, unless the column \
             is NOT NULL".into(),
        ),
        (
            "a INT CHECK (a BETWEEN 5 AND 1)",
            "t.sql:1:40: no value lies between 5 and 1\n  hint: the lower bound comes first".into(),
        ),
        (
            "a BOOLEAN CHECK (a = true)",
            "t.sql:1:27: a CHECK cannot compare column \"a\", which is boolean\n  hint: numbers, texts, dates and times can be \
             compared".into(),
        ),
        (
            "a INT CHECK (length(a) = 1)",
            "t.sql:1:23: a CHECK cannot compare length(\"a\"), which is int\n  hint: length is that of a text: declare the \
             column as VARCHAR".into(),
        ),
        (
            "a BIGINT METADATA FROM 'offset' CHECK (a > 0)",
            "t.sql:1:49: column \"a\" is metadata, which a CHECK is not made of\n  hint: put it into the WHERE of the queries".into(),
        ),
        (
            "minute INT, CHECK (minut > 0)",
            "t.sql:1:29: the CHECK names column \"minut\", which the table does not have\n  hint: did you mean \"minute\"?".into(),
        ),
        (
            "a INT, b INT CHECK (a > 0)",
            "t.sql:1:30: a CHECK is about one column, this one about \"b\" and \"a\"\n  hint: write one for each column; put what \
             compares columns into the WHERE of the queries".into(),
        ),
        (
            "a INT, b INT, CHECK (a > 0 AND b > 0)",
            "t.sql:1:31: a CHECK is about one column, this one about \"a\" and \"b\"\n  hint: write one for each column; put what \
             compares columns into the WHERE of the queries".into(),
        ),
        (
            "a INT, CONSTRAINT positive CHECK (a > 0)",
            "t.sql:1:24: constraints have no names here\n  hint: leave CONSTRAINT and the name out".into(),
        ),
        (
            "a INT CONSTRAINT positive CHECK (a > 0)",
            "t.sql:1:23: constraints have no names here\n  hint: leave CONSTRAINT and the name out".into(),
        ),
        (
            "topic UUID METADATA",
            "t.sql:1:23: column \"topic\" has the wrong type for metadata \"topic\"\n  hint: write topic VARCHAR METADATA FROM \
             'topic'".into(),
        ),
    ] {
        let found = table(elements).map(|table| format!("{:?}", table.columns)).unwrap_or_else(|report| report);
        if found != want {
            wrong.push_str(&format!("{elements}\n--- want\n{want}\n--- found\n{found}\n\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let nested = table("a STRUCT<id UUID>").unwrap_err();
    assert!(
        nested.starts_with("t.sql:1:19: type STRUCT<id UUID> of column \"a\" is not supported\n  hint: "),
        "{nested}"
    );
    // All mistakes of a table at once, and none about a column that is wrong itself.
    let both = table("a INT CHECK (a > 'x') CHECK (a = b), c JSON CHECK (c > 1)").unwrap_err();
    assert_eq!(both.matches("t.sql:").count(), 3, "{both}");
}

#[test]
fn a_check_may_be_long() {
    let list = (0..5_000).map(|one| one.to_string()).collect::<Vec<_>>().join(", ");
    let table = table(&format!("a INT CHECK (a IN ({list}))")).unwrap_or_else(|report| panic!("{report}"));
    let check = &table.columns[0].checks[0];
    assert!(check.whole_passes(4_999) && !check.whole_passes(5_000));
    says(&format!("a INT CHECK (a > 0{})", " AND a > 0".repeat(400)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_words_make_a_check_or_an_error(
        data_type in prop::sample::select(
            &["INT", "VARCHAR", "DATE", "TIMESTAMP(3)", "DECIMAL(3, 1)", "DOUBLE", "UUID", "BYTEA", "INT[]"][..]
        ),
        words in prop::collection::vec(
            prop::sample::select(&[
                "a", "a", "b", "length(a)", "(", ")", "IN (", ",", "1", "-", "1.5", "1e400", "'x'", "'2020-01-01'", "DATE '2020-01-01'",
                "NULL", "true", "=", "<", ">=", "<>", "BETWEEN", "AND", "AND", "OR", "NOT", "IS", "$1", "X'00'", "''",
            ][..]),
            0..12,
        ),
    ) {
        let _ = table(&format!("a {data_type} CHECK ({})", words.join(" ")));
        let _ = table(&format!("a {data_type} CHECK (a IN ({}))", words.join(" ")));
    }
}
