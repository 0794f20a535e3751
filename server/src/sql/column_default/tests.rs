//! What may stand behind DEFAULT, and the words for what may not.

use arrow::util::display::array_value_to_string;

use crate::catalog::{Statement, TableDef};
use crate::sql::{parse_file, report};

fn table(columns: &str) -> Result<TableDef, String> {
    let text = format!("CREATE TABLE t ({columns}) WITH ('connector' = 'kafka', 'topic' = 't')");
    match parse_file("t.sql", &text).map_err(|errors| report(&errors))?.pop() {
        Some(Statement::CreateTable(table)) => Ok(table),
        other => panic!("not a table: {other:?}"),
    }
}

/// The default of the first column: as a record would have it, and as a value.
fn default(columns: &str) -> Option<(String, String)> {
    let table = table(columns).unwrap_or_else(|report| panic!("{columns}: {report}"));
    let default = table.columns[0].reading.default.as_ref()?;
    Some((default.json.clone(), array_value_to_string(&default.value.to_array().unwrap(), 0).unwrap()))
}

#[test]
fn a_constant_becomes_a_value_of_the_columns_type() {
    for (column, json, value) in [
        ("a INT DEFAULT 0", "0", "0"),
        ("a INT DEFAULT -5 NOT NULL", "-5", "-5"),
        ("a INT NOT NULL DEFAULT (60 * 60) CHECK (a > 0)", "3600", "3600"),
        ("a BIGINT DEFAULT 1e3", "1e3", "1000"),
        ("a DOUBLE DEFAULT .5 COMMENT 'half'", "0.5", "0.5"),
        // Exactly as it is written.
        (
            "a DECIMAL(38, 18) DEFAULT 12345678901234567890.123456789012345678",
            "12345678901234567890.123456789012345678",
            "12345678901234567890.123456789012345678",
        ),
        ("a BOOLEAN DEFAULT TRUE", "true", "true"),
        ("a BOOLEAN DEFAULT 1 > 2", "false", "false"),
        ("a VARCHAR DEFAULT 'it''s \"x\"'", "\"it's \\\"x\\\"\"", "it's \"x\""),
        ("a VARCHAR(3) DEFAULT 'a' || 'b'", "\"ab\"", "ab"),
        ("a VARCHAR DEFAULT upper('x')", "\"X\"", "X"),
        (
            "a UUID DEFAULT '00000000-0000-0000-0000-000000000000'",
            "\"00000000-0000-0000-0000-000000000000\"",
            "00000000-0000-0000-0000-000000000000",
        ),
        ("a DATE DEFAULT '2026-01-02'", "\"2026-01-02\"", "2026-01-02"),
        ("a DATE DEFAULT DATE '2026-01-02'", "\"2026-01-02\"", "2026-01-02"),
        ("a TIMESTAMP(3) DEFAULT TIMESTAMP '2026-01-02 03:04:05'", "\"2026-01-02 03:04:05\"", "2026-01-02T03:04:05"),
        (
            "a TIMESTAMP(3) DEFAULT TIMESTAMP '2026-01-02 03:04:05' + INTERVAL '1 second'",
            "\"2026-01-02T03:04:06\"",
            "2026-01-02T03:04:06",
        ),
        (
            "a TIMESTAMP_LTZ(3) DEFAULT CAST('2026-01-02 03:04:05' AS TIMESTAMP_LTZ(3))",
            "\"2026-01-02T03:04:05Z\"",
            "2026-01-02T03:04:05Z",
        ),
        ("a BYTEA DEFAULT X'00ff'", "\"AP8=\"", "00ff"),
        ("a JSON DEFAULT '{\"x\": 1}'", "{\"x\": 1}", "{\"x\": 1}"),
        ("a VARCHAR[] DEFAULT '[\"x\"]'", "[\"x\"]", "[x]"),
        ("a MAP<VARCHAR, INT> DEFAULT '{}'", "{}", "{}"),
        ("a STRUCT<x INT> DEFAULT '{\"x\": 1}'", "{\"x\": 1}", "{x: 1}"),
    ] {
        let found = default(column).unwrap_or_else(|| panic!("{column} has none"));
        assert_eq!(found.0, json, "{column}");
        assert_eq!(found.1, value, "{column}");
    }
    assert!(!table("a INT DEFAULT -5 NOT NULL").unwrap().columns[0].nullable);
    // That is what a record has anyway.
    assert_eq!(default("a INT DEFAULT NULL"), None);
}

#[test]
fn what_is_no_default_is_said_at_its_place() {
    for (columns, expected) in [
        (
            "a INT DEFAULT 'x'",
            "t.sql:1:31: 'x' cannot be the default of column \"a\", which is int\n  hint: write a constant of that type",
        ),
        (
            "a INT DEFAULT 1.5",
            "t.sql:1:31: 1.5 cannot be the default of column \"a\", which is int\n  detail: in a record it would be refused: field \
             \"a\" is 1.5, not a whole number; the schema says int\n  hint: write a constant of that type",
        ),
        (
            "a TINYINT DEFAULT 128",
            "t.sql:1:35: 128 cannot be the default of column \"a\", which is tinyint\n  detail: in a record it would be refused: field \
             \"a\" is 128, out of range; the schema says tinyint\n  hint: write a constant of that type",
        ),
        (
            "a VARCHAR(3) DEFAULT 'long'",
            "t.sql:1:38: 'long' cannot be the default of column \"a\", which is varchar\n  detail: in a record it would be refused: \
             field \"a\" is \"long\"; the schema says varchar(3)\n  hint: write a value that the column's own CHECK or length allows, or leave DEFAULT out",
        ),
        (
            "a INT CHECK (a BETWEEN 1 AND 3) DEFAULT 0",
            "t.sql:1:57: 0 cannot be the default of column \"a\", which is int\n  detail: in a record it would be refused: field \"a\" \
             is 0; the schema says between 1 and 3\n  hint: write a value that the column's own CHECK or length allows, or leave DEFAULT out",
        ),
        (
            "a TIMESTAMP(3) DEFAULT 0",
            "t.sql:1:40: 0 cannot be the default of column \"a\", which is timestamp(3)\n  hint: write a constant of that type",
        ),
        (
            "a VARCHAR[] DEFAULT '[1]'",
            "t.sql:1:37: '[1]' cannot be the default of column \"a\", which is list of varchar\n  detail: in a record it would be \
             refused: field \"a[0]\" is 1; the schema says varchar\n  hint: write it as JSON in quotes, as in DEFAULT '[]'",
        ),
        (
            "a JSON DEFAULT '1, \"b\": 2'",
            "t.sql:1:32: '1, \"b\": 2' cannot be the default of column \"a\", which is json\n  hint: write it as JSON in quotes, as in \
             DEFAULT '[]'",
        ),
        (
            "a INT NOT NULL DEFAULT NULL",
            "t.sql:1:40: the default of column \"a\" is NULL, and the column NOT NULL\n  hint: leave DEFAULT out: a record that lacks \
             the field is a bad row then",
        ),
        ("a INT DEFAULT 0 DEFAULT 1", "t.sql:1:33: a column has one default\n  hint: leave the second out"),
        (
            "o BIGINT METADATA FROM 'offset' DEFAULT 0",
            "t.sql:1:49: column \"o\" is metadata, which a record never lacks\n  hint: leave DEFAULT out",
        ),
        (
            "c AS 1 DEFAULT 0",
            "t.sql:1:24: column \"c\" is computed, and lacks nothing\n  hint: leave DEFAULT out, and write coalesce(…, value) in its \
             expression",
        ),
    ] {
        assert_eq!(table(columns).unwrap_err(), expected, "{columns}");
    }
    for (columns, why) in [
        ("a INT DEFAULT b, b INT", "no field named b"),
        ("a DOUBLE DEFAULT random()", "random() does not always give the same value"),
        ("a TIMESTAMP(3) DEFAULT now()", "now() does not always give the same value"),
        ("a BIGINT DEFAULT 9223372036854775807 + 1", "9223372036854775807 + 1"),
        ("a BIGINT DEFAULT 1 / 0", "ivi"),
        ("a BIGINT DEFAULT nope(1)", "nope"),
        ("a BIGINT DEFAULT (SELECT 1)", ""),
        ("a BIGINT DEFAULT count(*)", ""),
    ] {
        let error = table(columns).unwrap_err();
        assert!(
            error.contains("is no constant: ") && error.to_lowercase().contains(&why.to_lowercase()),
            "{columns}\n{error}"
        );
        assert!(error.ends_with("as in coalesce(a, b)"), "{error}");
    }
    let text = "CREATE TABLE t (a INT DEFAULT 0) WITH ('connector' = 'filesystem', 'path' = 'x.parquet')";
    assert_eq!(
        report(&parse_file("t.sql", text).unwrap_err()),
        "t.sql:1:23: DEFAULT has no effect on format 'parquet', whose rows lack no column\n  hint: leave it out, and use \
         coalesce(column, value) in the query"
    );
}
