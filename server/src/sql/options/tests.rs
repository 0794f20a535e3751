//! The options of tables, one connector at a time.

use crate::catalog::{Connector, PostgresAddress, PostgresTable, Statement};
use crate::error::Error;
use crate::sql::parse_file;

fn table(options: &str) -> Result<PostgresTable, String> {
    let text = format!("CREATE TABLE t (a INT) WITH ('connector' = 'postgres', {options})");
    let statements = parse_file("t.sql", &text)
        .map_err(|errors| errors.iter().map(Error::report).collect::<Vec<_>>().join("\n\n"))?;
    match statements.into_iter().next() {
        Some(Statement::CreateTable(table)) => match table.connector {
            Connector::Postgres(table) => Ok(table),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_table_of_a_database_is_named_with_its_schema_and_its_address_stands_elsewhere() {
    for (options, schema, name, address) in [
        ("'table' = 'countries'", "public", "countries", PostgresAddress::Server),
        ("'table' = 'Geo.Countries'", "Geo", "Countries", PostgresAddress::Server),
        ("'table' = 'a.b', 'url-env' = 'GEO_URL'", "a", "b", PostgresAddress::Env("GEO_URL".into())),
        ("'table' = 'a.b', 'url-file' = '/run/geo'", "a", "b", PostgresAddress::File("/run/geo".into())),
        ("'table' = 'a.b', 'refresh-interval' = '1 minute'", "a", "b", PostgresAddress::Server),
    ] {
        let expected = PostgresTable { schema: schema.into(), name: name.into(), address };
        assert_eq!(table(options), Ok(expected), "{options}");
    }
}

#[test]
fn what_is_wrong_about_a_table_of_a_database_is_said_without_its_password() {
    for (options, primary) in [
        ("'refresh-interval' = '1 minute'", "option \"table\" is missing"),
        ("'table' = 'a.b.c'", "\"a.b.c\" cannot be the name of a table in Postgres"),
        ("'table' = '.b'", "\".b\" cannot be the name of a table in Postgres"),
        ("'table' = 'a', 'path' = 'x'", "option \"path\" belongs to connector 'filesystem'"),
        (
            "'table' = 'a', 'format' = 'json'",
            "option \"format\" has no effect on connector 'postgres', whose rows have columns",
        ),
        (
            "'table' = 'a', 'json.rows' = '$.a[*]'",
            "option \"json.rows\" has no effect on connector 'postgres', whose rows have columns",
        ),
        (
            "'table' = 'a', 'url-env' = 'A', 'url-file' = '/a'",
            "\"url-env\" and \"url-file\" both say where the address stands",
        ),
        (
            "'table' = 'a', 'url-env' = 'postgres://u:hunter2@h/d'",
            "option \"url-env\" is not the name of an environment variable",
        ),
        (
            "'table' = 'a', 'url-file' = 'postgres://u:hunter2@h/d'",
            "option \"url-file\" is not the absolute path of a file",
        ),
        (
            "'table' = 'a', 'url' = 'postgres://u:hunter2@h/d'",
            "option \"url\" does not stand in a statement, which others can read",
        ),
        (
            "'table' = 'a', 'password' = 'hunter2'",
            "option \"password\" does not stand in a statement, which others can read",
        ),
    ] {
        let report = table(options).unwrap_err();
        assert!(report.contains(primary), "{options}\n{report}");
        assert!(!report.contains("hunter2"), "{report}");
    }
}

#[test]
fn a_table_of_a_database_is_no_stream_and_its_rows_have_no_metadata() {
    let refused = |columns: &str| {
        let text = format!("CREATE TABLE t ({columns}) WITH ('connector' = 'postgres', 'table' = 't')");
        let errors = parse_file("t.sql", &text).unwrap_err();
        errors.iter().map(|error| error.primary().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        refused("a INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts"),
        ["a table of connector 'postgres' is read whole, and has no watermark"]
    );
    assert_eq!(refused("a BIGINT METADATA FROM 'offset'"), ["a row of connector 'postgres' has no METADATA"]);
}
