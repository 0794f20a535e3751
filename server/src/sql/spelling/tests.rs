use datafusion::sql::sqlparser::parser::Parser;

use super::*;
use crate::catalog::{Statement, TableDef};
use crate::sql::dialect::StreamDialect;
use crate::sql::{parse_file, report};

fn expression(text: &str) -> Result<String, String> {
    let dialect = StreamDialect::default();
    let mut expr = Parser::new(&dialect).try_with_sql(text).expect("tokens").parse_expr().expect(text);
    respell_alone(&mut expr).map(|()| expr.to_string()).map_err(|error| error.report())
}

fn table(columns: &str) -> TableDef {
    let text = format!("CREATE TABLE t ({columns}) WITH ('connector' = 'kafka', 'topic' = 't')");
    let statements = parse_file("t.sql", &text).unwrap_or_else(|errors| panic!("{}", report(&errors)));
    match statements.into_iter().next() {
        Some(Statement::CreateTable(table)) => table,
        other => panic!("not a table: {other:?}"),
    }
}

#[test]
fn an_interval_of_several_fields_is_one_text_wherever_it_stands() {
    for (text, read) in [
        ("ts - INTERVAL '1:30' MINUTE TO SECOND", "ts - INTERVAL '1 minutes 30 seconds'"),
        ("f(INTERVAL '-2 03' DAY TO HOUR)", "f(INTERVAL '-2 days -03 hours')"),
        ("INTERVAL '1-6' YEAR TO MONTH", "INTERVAL '1 years 6 months'"),
        ("INTERVAL '5' SECOND", "INTERVAL '5' SECOND"),
        ("INTERVAL '5 seconds'", "INTERVAL '5 seconds'"),
    ] {
        assert_eq!(expression(text).as_deref(), Ok(read), "{text}");
    }
    let found = expression("ts - INTERVAL '1.30' MINUTE TO SECOND").expect_err("no such interval");
    assert!(
        found.starts_with("line 1, column 15: an interval cannot be read from '1.30'; write its units, as in"),
        "{found}"
    );
}

#[test]
fn bounds_of_a_grouping_window_are_fields_of_its_struct() {
    for (text, read) in [
        ("TUMBLE_START(ts, INTERVAL '1' MINUTE)", "tumble(ts, INTERVAL '1' MINUTE)['start']"),
        (
            "hop_end(ts, INTERVAL '1' MINUTE, INTERVAL '5' MINUTE)",
            "hop(ts, INTERVAL '1' MINUTE, INTERVAL '5' MINUTE)['end']",
        ),
        (
            "max(x) + Tumble_End(INTERVAL '0:30' MINUTE TO SECOND)",
            "max(x) + tumble(INTERVAL '0 minutes 30 seconds')['end']",
        ),
        ("tumble_starts(ts)", "tumble_starts(ts)"),
        ("s.tumble_start(ts)", "s.tumble_start(ts)"),
        ("SESSION_START(ts, INTERVAL '5' MINUTE)", "session(ts, INTERVAL '5' MINUTE)['start']"),
    ] {
        assert_eq!(expression(text).as_deref(), Ok(read), "{text}");
    }
}

#[test]
fn a_choice_of_two_is_a_case() {
    for (text, read) in [
        ("IF(a > 1, 'x', b)", "CASE WHEN a > 1 THEN 'x' ELSE b END"),
        ("sum(if(ok, 1))", "sum(CASE WHEN ok THEN 1 END)"),
        ("if(a, if(b, 1, 2), 3)", "CASE WHEN a THEN CASE WHEN b THEN 1 ELSE 2 END ELSE 3 END"),
        ("if(a)", "if(a)"),
        ("\"if\"(a, 1, 2)", "\"if\"(a, 1, 2)"),
    ] {
        assert_eq!(expression(text).as_deref(), Ok(read), "{text}");
    }
}

#[test]
fn a_format_of_java_is_refused_and_any_other_text_is_none() {
    let found = expression("to_date(s, 'yyyy-MM-dd')").expect_err("a format of Java");
    assert!(found.contains("'yyyy-MM-dd' is no format here: each part begins with %"), "{found}");
    for text in ["to_timestamp(s, '%Y')", "to_timestamp('yy')", "f(s, 'yyyy-MM-dd')", "to_char(ts, 'x')"] {
        assert_eq!(expression(text).as_deref(), Ok(text), "{text}");
    }
}

#[test]
fn types_of_flink_are_those_of_the_columns_that_we_have() {
    let ours = table(
        "user STRUCT<id BIGINT, name VARCHAR>, visits STRUCT<at TIMESTAMP(3) WITH TIME ZONE>[], at TIMESTAMP(3) WITH TIME ZONE, named MAP<VARCHAR, STRUCT<x INT>>, row INT",
    );
    let flink = table(
        "user ROW<id BIGINT, name STRING>, visits ARRAY<ROW<at TIMESTAMP_LTZ(3)>>, `at` TIMESTAMP(3) WITH LOCAL TIME ZONE, named MAP<STRING, ROW<x INT>>, row INT CHECK (row < 5)",
    );
    let types = |table: &TableDef| -> Vec<String> {
        table.columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect()
    };
    assert_eq!(types(&flink), types(&ours));
    // What compares a column of that name stays an expression.
    let compared = table("row INT, a INT, low AS CASE WHEN row < a AND a > 1 THEN 1 ELSE 0 END, f AS row < a");
    assert_eq!(compared.columns[3].data_type, arrow::datatypes::DataType::Boolean);
}
