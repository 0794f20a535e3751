use arrow::datatypes::TimeUnit;

use super::*;
use crate::catalog::{Statement, TableDef};
use crate::sql::{parse_file, report};
use crate::watermark::Monotone;

const TOPIC: &str = "WITH ('connector' = 'kafka', 'topic' = 't')";

fn statement(columns: &str) -> String {
    format!("CREATE TABLE t ({columns}) {TOPIC}")
}

fn table(columns: &str) -> TableDef {
    let statements = parse_file("t.sql", &statement(columns)).unwrap_or_else(|errors| panic!("{}", report(&errors)));
    match statements.into_iter().next() {
        Some(Statement::CreateTable(table)) => table,
        other => panic!("not a table: {other:?}"),
    }
}

fn mistakes(columns: &str) -> String {
    report(&parse_file("t.sql", &statement(columns)).expect_err(columns))
}

/// What a computed column reads, by name.
fn reads<'a>(table: &'a TableDef, name: &str) -> Vec<&'a str> {
    let column = &table.columns[table.column_index(name).expect(name)];
    let ColumnKind::Computed(computed) = &column.kind else { panic!("{name} is not computed") };
    computed.reads.iter().map(|at| table.columns[*at].name.as_str()).collect()
}

fn type_of<'a>(table: &'a TableDef, name: &str) -> &'a DataType {
    &table.columns[table.column_index(name).expect(name)].data_type
}

#[test]
fn a_computed_column_has_the_type_of_its_expression_and_reads_what_it_names() {
    let table = table(
        "day AS CAST(ts AS DATE) COMMENT 'in UTC',
         t BIGINT, price DECIMAL(12, 2) NOT NULL, qty INT,
         ts AS to_timestamp_millis(T),
         amount AS price * \"qty\",
         name VARCHAR, loud AS upper(name) || '!',
         kind AS CASE WHEN qty > 10 THEN 'bulk' ELSE 'piece' END,
         payload STRUCT<x INT, at BIGINT>, at AS to_timestamp_ltz(payload.at, 3),
         record BIGINT METADATA FROM 'offset', place AS record % 7,
         one AS 1",
    );
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let in_order =
        ["day", "t", "price", "qty", "ts", "amount", "name", "loud", "kind", "payload", "at", "record", "place", "one"];
    assert_eq!(names, in_order);
    for (name, data_type, read) in [
        ("day", DataType::Date32, &["ts"][..]),
        ("ts", DataType::Timestamp(TimeUnit::Millisecond, None), &["t"][..]),
        ("loud", DataType::Utf8View, &["name"][..]),
        ("kind", DataType::Utf8View, &["qty"][..]),
        ("at", DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into())), &["payload"][..]),
        ("place", DataType::Int64, &["record"][..]),
        ("one", DataType::Int64, &[][..]),
    ] {
        assert_eq!((type_of(&table, name), reads(&table, name)), (&data_type, read.to_vec()), "{name}");
    }
    assert_eq!(reads(&table, "amount"), ["price", "qty"]);
    assert!(matches!(type_of(&table, "amount"), DataType::Decimal128(..)));
    assert!(table.columns[0].nullable && table.columns[0].comment.as_deref() == Some("in UTC"));
    // No field of the record is meant by the name.
    assert_eq!(table.columns[0].field_names().count(), 0);
}

#[test]
fn a_type_and_rules_can_be_declared_as_arroyo_has_it() {
    let table = table(
        "customer_id INT, date_string TEXT NOT NULL,
         timestamp TIMESTAMP(3) GENERATED ALWAYS AS (CAST(date_string AS TIMESTAMP)) STORED NOT NULL,
         amount DOUBLE, cents BIGINT NOT NULL AS (CAST(amount * 100 AS BIGINT)) CHECK (cents >= 0),
         code VARCHAR(3) GENERATED ALWAYS AS (upper(date_string)) VIRTUAL,
         WATERMARK FOR timestamp AS CAST(date_string AS TIMESTAMP) - INTERVAL '5 seconds'",
    );
    assert_eq!(type_of(&table, "timestamp"), &DataType::Timestamp(TimeUnit::Millisecond, None));
    let column = |name: &str| &table.columns[table.column_index(name).expect(name)];
    assert!(!column("timestamp").nullable && !column("cents").nullable);
    assert_eq!((column("cents").checks.len(), column("code").checks.len()), (1, 1));
    // The watermark is of the expression that the column is computed by, and so of the column.
    assert_eq!(table.watermark.expect("a watermark").steps, [Monotone::Less(5_000_000)]);
}

#[test]
fn the_watermark_can_be_of_a_computed_column() {
    let columns = |watermark: &str| format!("WATERMARK FOR {watermark}, t BIGINT, ts AS to_timestamp_millis(t)");
    for (watermark, steps) in [
        ("ts AS ts - INTERVAL '5' SECOND", vec![Monotone::Less(5_000_000)]),
        ("ts AS to_timestamp_millis(t) - INTERVAL '0:05' MINUTE TO SECOND", vec![Monotone::Less(5_000_000)]),
        ("ts AS (TO_TIMESTAMP_MILLIS(t))", vec![]),
        ("ts", vec![]),
    ] {
        assert_eq!(table(&columns(watermark)).watermark.expect("a watermark").steps, steps, "{watermark}");
    }
    let found = mistakes(&columns("ts AS to_timestamp_seconds(t)"));
    assert!(found.starts_with("t.sql:1:37: a watermark must not fall when \"ts\" rises"), "{found}");
}

#[test]
fn a_query_is_another_one_when_an_expression_changes_and_a_table_without_one_is_what_it_was() {
    let kind = |columns: &str| format!("{:?}", table(columns).columns[1].kind);
    assert_eq!(kind("t BIGINT, ts AS to_timestamp_millis(t)"), "Computed(\"to_timestamp_millis(t)\")");
    assert_eq!(kind("t BIGINT, ts  AS  to_timestamp_millis( t )"), "Computed(\"to_timestamp_millis(t)\")");
    assert_ne!(kind("t BIGINT, ts AS to_timestamp_seconds(t)"), kind("t BIGINT, ts AS to_timestamp_millis(t)"));
    assert_eq!(kind("t BIGINT, ts BIGINT"), "Physical { aliases: [], numbers_as_text: false }");
}

#[test]
fn each_mistake_has_its_place_and_what_to_write() {
    let mut wrong = String::new();
    for (columns, want) in [
        (
            "price INT, amount AS prise * 2",
            "t.sql:1:38: column \"prise\" does not exist\n  hint: did you mean \"price\"?",
        ),
        (
            "a INT, b AS sum(a)",
            "t.sql:1:29: sum() is an aggregate, over many rows; a computed column is computed from the columns of its row alone\n  hint: compute it in a query or view",
        ),
        (
            "a INT, b AS row_number() OVER (ORDER BY a)",
            "t.sql:1:29: OVER looks at other rows; a computed column is computed from the columns of its row alone\n  hint: compute it in a query or view",
        ),
        (
            "a INT, b AS a * random()",
            "t.sql:1:29: random() does not always give the same value; a computed column is computed from the columns of its row alone\n  hint: compute it in a query or view",
        ),
        (
            "a INT, b AS now()",
            "t.sql:1:29: now() does not always give the same value; a computed column is computed from the columns of its row alone\n  hint: compute it in a query or view",
        ),
        (
            "a INT, b AS (SELECT max(x) FROM u)",
            "t.sql:1:30: a computed column cannot contain a query\n  hint: compute it in a query or view",
        ),
        (
            "a INT, p AS PROCTIME()",
            "t.sql:1:29: invalid function 'proctime'\n  hint: there is no processing time: an answer would depend on when its rows were read; use event time, or a column ts TIMESTAMP(3) METADATA FROM 'timestamp'",
        ),
        ("a INT, b AS nosuch(a)", "t.sql:1:29: invalid function 'nosuch'"),
        (
            "a INT, b AS $1",
            "t.sql:1:29: `$1` means nothing in a computed column\n  hint: write the name of what it stands for",
        ),
        (
            "a INT, b AS INTERVAL '1 day'",
            "t.sql:1:38: column \"b\" would be INTERVAL, which no column can be\n  hint: CAST it: use BOOLEAN",
        ),
        ("a INT, b AS NULL", "t.sql:1:29: column \"b\" would be NULL alone, which no column can be"),
        (
            "ts AS to_timestamp_millis(ts)",
            "t.sql:1:23: column \"ts\" is computed from itself\n  hint: the record's field needs a column of another name, as ts_raw with 'aliases.ts_raw' = 'ts'",
        ),
        (
            "x AS y + 1, y AS z + 1, z AS x + 1, w AS x + 1",
            "t.sql:1:22: column \"x\" is computed from itself, by way of others\n  hint: write one of them out\n\n\
             t.sql:1:34: column \"y\" is computed from itself, by way of others\n  hint: write one of them out\n\n\
             t.sql:1:46: column \"z\" is computed from itself, by way of others\n  hint: write one of them out",
        ),
        ("a INT, b AS nosuch(a), c AS b + 1", "t.sql:1:29: invalid function 'nosuch'"),
        ("a INT, a AS 1", "t.sql:1:24: column \"a\" is given twice\n  hint: rename or remove one of them"),
        (
            "s VARCHAR, n BIGINT GENERATED ALWAYS AS (upper(s))",
            "t.sql:1:58: the expression is VARCHAR, and column \"n\" is BIGINT\n  hint: write CAST(… AS BIGINT), or leave the type out: n AS …",
        ),
        (
            "s VARCHAR, j JSON[] GENERATED ALWAYS AS (s)",
            "t.sql:1:30: computed column \"j\" cannot have JSON inside\n  hint: write VARCHAR for it, or declare the column as JSON",
        ),
        (
            "n BIGINT GENERATED ALWAYS AS IDENTITY",
            "t.sql:1:26: a column is decoded from the record, or computed from other columns\n  hint: write name AS expression, or name type GENERATED ALWAYS AS (expression)",
        ),
        (
            "n BIGINT METADATA FROM 'offset' AS (1)",
            "t.sql:1:40: column \"n\" is computed, and so no metadata\n  hint: leave METADATA out, or give it a column of its own",
        ),
        (
            "s VARCHAR, ts AS upper(s), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND",
            "t.sql:1:58: the watermark's column \"ts\" is not a timestamp\n  hint: write ts AS CAST(… AS TIMESTAMP(3))",
        ),
        (
            "s VARCHAR, ts AS to_timestamp(s, 'yyyy-MM-dd HH:mm:ss')",
            "t.sql:1:34: 'yyyy-MM-dd HH:mm:ss' is no format here: each part begins with %\n  hint: write '%Y-%m-%d %H:%M:%S' for 'yyyy-MM-dd HH:mm:ss'",
        ),
    ] {
        let found = mistakes(columns);
        if !found.starts_with(want) || found.matches("t.sql:").count() != want.matches("t.sql:").count() {
            wrong.push_str(&format!("{columns}\n--- want\n{want}\n--- found\n{found}\n\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_field_may_be_called_as_a_computed_column_is() {
    let text = "CREATE TABLE t (raw BIGINT, ts AS to_timestamp_millis(raw))
                WITH ('connector' = 'kafka', 'topic' = 't', 'aliases.raw' = 'ts')";
    let statements = parse_file("t.sql", text).unwrap_or_else(|errors| panic!("{}", report(&errors)));
    let Some(Statement::CreateTable(table)) = statements.into_iter().next() else { panic!("not a table") };
    assert_eq!(table.columns[0].field_names().collect::<Vec<_>>(), ["raw", "ts"]);
    let refused = text.replace("'aliases.raw' = 'ts'", "'aliases.ts' = 'x'");
    let found = report(&parse_file("t.sql", &refused).expect_err("a computed column has no field"));
    assert!(found.contains("column \"ts\" is computed and has no field that could be called otherwise"), "{found}");
}
