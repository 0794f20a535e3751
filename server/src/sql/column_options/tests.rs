use arrow::datatypes::{DataType, Field};

use crate::catalog::{FieldPath, RecordRows, Statement, TableDef, TimestampFormat};
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

fn path(names: &[&str]) -> FieldPath {
    FieldPath(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn rows_are_elements_or_objects_and_columns_may_be_read_from_around_them() {
    let kafka = |options: &str| {
        let text = format!(
            "CREATE TABLE t (a INT, \"B\" INT, c INT DEFAULT 1) WITH ('connector' = 'kafka', 'topic' = 't', {options})"
        );
        match parse_file("t.sql", &text).unwrap_or_else(|errors| panic!("{}", report(&errors))).pop() {
            Some(Statement::CreateTable(table)) => table,
            other => panic!("not a table: {other:?}"),
        }
    };
    let table = kafka(
        "'json.rows' = '$.data[\"the events\"][*]', 'json.path.B' = '$.b', json.path.A = '$', 'on-null' = 'default'",
    );
    assert_eq!(table.rows, RecordRows::Elements(path(&["data", "the events"])));
    let paths: Vec<_> = table.columns.iter().map(|column| column.reading.path.clone()).collect();
    assert_eq!(paths, [Some(path(&[])), Some(path(&["b"])), None]);
    assert_eq!(
        table.columns.iter().map(|column| column.reading.null_is_default).collect::<Vec<_>>(),
        [false, false, true]
    );
    assert_eq!(kafka("'json.rows' = '$[*]'").rows, RecordRows::Elements(path(&[])));
    assert_eq!(kafka("'json.rows' = 'lines', 'on-null' = 'null'").rows, RecordRows::Lines);
    assert_eq!(kafka("'format' = 'json'").rows, RecordRows::One);
    assert_eq!(path(&["a", "b c", "it's", ""]).to_string(), r"$.a['b c']['it\'s']['']");
}

#[test]
fn json_and_map_are_types_of_columns_and_of_what_is_in_them() {
    let table = parsed(
        "a JSON, b STRUCT<x INT, y JSON[]>, c MAP<VARCHAR, MAP<STRING, JSON>>, d MAP<VARCHAR, BIGINT>[]",
        "'path' = 'x.json'",
    );
    let table = table.unwrap();
    let places: Vec<_> = table.columns.iter().map(|column| column.reading.json.0.clone()).collect();
    assert_eq!(places, [vec![vec![]], vec![vec![1, 0]], vec![vec![0, 0]], vec![]]);
    let types: Vec<&DataType> = table.columns.iter().map(|column| &column.data_type).collect();
    assert_eq!(types[0], &DataType::Utf8View);
    let map = |value: DataType| {
        let entry = vec![Field::new("key", DataType::Utf8View, false), Field::new("value", value, true)];
        DataType::Map(Field::new("entries", DataType::Struct(entry.into()), false).into(), false)
    };
    assert_eq!(types[2], &map(map(DataType::Utf8View)));
    assert_eq!(types[3], &DataType::new_list(map(DataType::Int64), true));
    for columns in ["a MAP<INT, INT>", "a MAP<JSON, INT>", "a MAP<VARCHAR, INTERVAL>", "a MAP<VARCHAR, GEOMETRY>[]"] {
        let error = parsed(columns, "'path' = 'x.json'").unwrap_err();
        assert!(error.starts_with("t.sql:1:19: type ") && error.contains("MAP<VARCHAR, type>"), "{error}");
    }
    for (columns, said) in [
        ("a MAP<VARCHAR(3), INT>", "a length inside"),
        ("a JSON CHECK (a = 'x')", "a CHECK cannot compare column \"a\", which is json"),
        ("a JSON METADATA FROM 'topic'", "column \"a\" has the wrong type for metadata"),
    ] {
        let error = parsed(columns, "'path' = 'x.json'").unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    assert!(parsed("a JSON CHECK (length(a) < 1000)", "'path' = 'x.json'").is_ok());
}

#[test]
fn options_about_records_that_mean_nothing_are_refused() {
    for (columns, options, expected) in [
        (
            "a INT",
            "'path' = 'x.csv', 'json.rows' = '$.e[*]'",
            "t.sql:1:76: option \"json.rows\" has no effect on a format other than 'json'\n  hint: leave it out",
        ),
        (
            "a INT",
            "'path' = 'x.json', 'json.rows' = 'lines'",
            "option \"json.rows\" has no effect on files: each of their lines is a record\n  hint: leave it out",
        ),
        (
            "a INT",
            "'path' = 'x.json', 'json.rows' = '$.events'",
            "option \"json.rows\" cannot be \"$.events\"\n  hint: write the way to the list whose elements are rows, as in '$.events[*]', \
             or 'lines'",
        ),
        (
            "a INT",
            "'path' = 'x.json', 'json.rows' = '$.data.list'",
            "option \"json.rows\" cannot be \"$.data.list\"\n  hint: write the way to the list whose elements are rows, as in '$.data.list[*]', \
             or 'lines'",
        ),
        (
            "a INT",
            "'path' = 'x.json', 'json.path' = '$[*]'",
            "option \"json.path\" is not known\n  hint: write 'json.rows' = '$.events[*]' for a list whose elements are rows, and \
             'json.path.<column>' = '$.field' for a column of the record around it",
        ),
        (
            "a INT",
            "'path' = 'x.json', 'json.rows' = '$[*]', 'json.path.a' = '$.b[*].a'",
            "option \"json.path.a\" cannot be \"$.b[*].a\"\n  hint: it leads through fields alone: the elements of one list are rows, by \
             'json.rows' = '$.events[*]', and a list in them is a column of a type as BIGINT[]",
        ),
        (
            "a INT",
            "'path' = 'x.json', 'json.rows' = 'events[*]'",
            "option \"json.rows\" cannot be \"events[*]\"\n  detail: 'events' is no path: it does not begin with $; a path is $, then .name, \
             ['name'] and [0], as in $.player.positions[2]['x y']\n  hint: write the names of fields, as in '$.match.events'",
        ),
        (
            "a INT",
            "'path' = 'x.json', 'json.rows' = '$.a[0].e[*]'",
            "option \"json.rows\" cannot be \"$.a[0].e[*]\"\n  hint: it leads through fields alone, as in '$.match.events'",
        ),
        (
            "a INT",
            "'path' = 'x.json', 'json.path.a' = '$.a'",
            "option \"json.path.a\" has no effect on a table whose rows are no elements\n  hint: add 'json.rows' = '$.events[*]', or \
             leave it out",
        ),
        (
            "a INT",
            "'path' = 'x.json', 'json.rows' = '$[*]', 'json.path.b' = '$.a'",
            "option \"json.path.b\" names column \"b\", which the table does not have\n  hint: did you mean \"a\"?",
        ),
        (
            "a INT",
            "'path' = 'x.json', 'json.rows' = '$[*]', 'json.path.a' = '$.a', 'aliases.a' = 'x'",
            "column \"a\" has other names for its field, which a path has not\n  hint: leave \"json.path.a\" out",
        ),
        (
            "a BIGINT METADATA FROM 'offset'",
            "'path' = 'x.json', 'json.rows' = '$[*]', 'json.path.a' = '$.a'",
            "column \"a\" is metadata and has no field\n  hint: leave \"json.path.a\" out",
        ),
        (
            "a INT",
            "'path' = 'x.json', 'on-null' = 'default'",
            "option \"on-null\" has no effect on a table without a DEFAULT\n  hint: leave it out",
        ),
        (
            "a INT DEFAULT 1",
            "'path' = 'x.csv', 'on-null' = 'default'",
            "option \"on-null\" has no effect on a format other than 'json'\n  hint: leave it out",
        ),
        (
            "a INT DEFAULT 1",
            "'path' = 'x.json', 'on-null' = 'zero'",
            "option \"on-null\" cannot be \"zero\"\n  hint: it is 'null' or 'default'",
        ),
        (
            "a JSON",
            "'path' = 'x.json', 'numbers-as-text' = 'a'",
            "option \"numbers-as-text\" names column \"a\", which is not read as text\n  hint: it is for columns of type VARCHAR",
        ),
    ] {
        let error = parsed(columns, options).unwrap_err();
        assert!(error.ends_with(expected), "{error}");
    }
}
