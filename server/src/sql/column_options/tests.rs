use crate::catalog::{Statement, TableDef, TimestampFormat};
use crate::sql::{parse_file, report};

fn parsed(columns: &str, options: &str) -> Result<TableDef, String> {
    let text = format!("CREATE TABLE t ({columns}) WITH ('connector' = 'filesystem', {options})");
    match parse_file("t.sql", &text).map_err(|errors| report(&errors))?.pop() {
        Some(Statement::CreateTable(table)) => Ok(table),
        other => panic!("not a table: {other:?}"),
    }
}

fn formats(columns: &str, options: &str) -> Vec<Option<&'static str>> {
    let table = parsed(columns, options).unwrap_or_else(|error| panic!("{error}"));
    table.columns.iter().map(|column| column.timestamps.name()).collect()
}

#[test]
fn a_columns_timestamp_format_wins_over_the_tables() {
    let columns = "a TIMESTAMP(3), \"B\" TIMESTAMP(9)[], c STRUCT<at TIMESTAMP>, d INT, orderId TIMESTAMP(3), \
                   m TIMESTAMP(3) METADATA FROM 'timestamp'";
    for format in TimestampFormat::DECLARED {
        let name = format.name().unwrap();
        let found = formats(columns, &format!("'path' = 'x.json', 'timestamp-format' = '{name}'"));
        let own = Some(name);
        assert_eq!(found, [own, own, own, None, own, None]);
    }
    let found = formats(
        columns,
        "'path' = 'x.json', 'timestamp-format.B' = 'epoch-ns', 'timestamp-format' = 'epoch-s', \
         'timestamp-format.orderId' = 'iso-8601'",
    );
    assert_eq!(found, [Some("epoch-s"), Some("epoch-ns"), Some("epoch-s"), None, Some("iso-8601"), None]);
    assert_eq!(formats("a TIMESTAMP(3)", "'path' = 'x.json'"), [None]);
}

#[test]
fn options_name_a_column_as_a_query_does() {
    let table =
        parsed("orderId INT, \"userId\" INT", "'path' = 'x.json', 'aliases.orderId' = 'o', 'aliases.userId' = 'u'");
    let names: Vec<Vec<String>> =
        table.unwrap().columns.iter().map(|column| column.field_names().map(str::to_owned).collect()).collect();
    assert_eq!(names, [["orderid", "o"], ["userId", "u"]]);
}

#[test]
fn capitals_beyond_ascii_stay_as_a_query_reads_them() {
    let table = parsed("ÄnderungAm INT", "'path' = 'x.json'").unwrap();
    assert_eq!(table.columns[0].name, "Änderungam");
}

#[test]
fn the_delimiter_of_csv_files_is_one_character() {
    for (value, delimiter) in [(";", b';'), (r"\t", b'\t'), ("\t", b'\t'), ("|", b'|')] {
        let table = parsed("a INT", &format!("'path' = 'x.csv', 'csv.delimiter' = '{value}'")).unwrap();
        assert_eq!(table.csv_delimiter, delimiter);
    }
    assert_eq!(parsed("a INT", "'path' = 'x.csv'").unwrap().csv_delimiter, b',');
}

#[test]
fn what_an_option_cannot_be_is_said_with_what_it_can() {
    for (columns, options, expected) in [
        (
            "a TIMESTAMP(3)",
            "'path' = 'x.json', 'timestamp-format.a' = 'epoch-sec'",
            "option \"timestamp-format.a\" cannot be \"epoch-sec\"\n  hint: known are epoch-s, epoch-ms, epoch-us, epoch-ns, \
             iso-8601; did you mean 'epoch-s'?",
        ),
        (
            "a TIMESTAMP(3)",
            "'path' = 'x.json', 'timestamp-format.b' = 'epoch-s'",
            "option \"timestamp-format.b\" names column \"b\", which the table does not have\n  hint: did you mean \"a\"?",
        ),
        (
            "a INT",
            "'path' = 'x.json', 'timestamp-format.a' = 'epoch-s'",
            "option \"timestamp-format.a\" names a column without a timestamp in the record\n  hint: declare it as a \
             TIMESTAMP(3)",
        ),
        (
            "a INT",
            "'path' = 'x.json', 'timestamp-format' = 'epoch-s'",
            "option \"timestamp-format\" has no effect on a table without a timestamp\n  hint: leave it out",
        ),
        (
            "a INT",
            "'path' = 'x.json', 'csv.delimiter' = ';'",
            "option \"csv.delimiter\" has no effect on a format other than 'csv'\n  hint: leave it out",
        ),
        (
            "a INT",
            "'path' = 'x.csv', 'csv.delimiter' = '\"'",
            "option \"csv.delimiter\" cannot be \"\"\"\n  hint: write one character of ASCII, but no quote and no line end; \
             '\\t' is a tab",
        ),
        (
            "a VARCHAR(0)",
            "'path' = 'x.csv'",
            "type VARCHAR(0) is not available\n  hint: a length is a number of characters from 1, as in VARCHAR(5); VARCHAR \
             alone has no limit",
        ),
        (
            "a STRUCT<b VARCHAR(5)>[]",
            "'path' = 'x.json'",
            "a length inside STRUCT<b VARCHAR(5)>[] is not available\n  hint: write VARCHAR without a length inside lists and \
             structs; a length can be that of a whole column",
        ),
        (
            "a VARCHAR(5) METADATA FROM 'topic'",
            "'path' = 'x.json'",
            "metadata column \"a\" has no length of its own\n  hint: write a VARCHAR",
        ),
    ] {
        let error = parsed(columns, options).unwrap_err();
        assert!(error.ends_with(expected), "{error}");
    }
}
