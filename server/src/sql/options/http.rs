//! `'http.…'` of a topic's table: whether and how it takes records by HTTP.

use std::collections::HashMap;

use super::super::ddl::unknown_column;
use super::{GivenOption, Options, read};
use crate::catalog::{Column, ColumnKind, HttpBody, HttpIngest, RecordRows};
use crate::error::{Error, Result};

/// What `http.path` begins with, and what is taken there.
const PREFIX: &str = "/api/";
const TAKEN: [&str; 3] = ["/api/ingest", "/api/query", "/api/matches"];
const PATH_BYTES_MAX: usize = 200;

/// The options as given. Columns are not known yet.
pub(crate) struct HttpOptions {
    path: Option<String>,
    body: HttpBody,
    key: Option<GivenOption>,
    id: Option<GivenOption>,
}

/// `None` where the table takes no records by HTTP.
pub(super) fn take(given: &mut Options, errors: &mut Vec<Error>) -> Option<HttpOptions> {
    let (ingest, path, body) = (given.take("http.ingest"), given.take("http.path"), given.take("http.body"));
    let (key, id) = (given.take("http.key"), given.take("http.id"));
    let has_path = path.is_some();
    let open = read(ingest, has_path, errors, |option| match option.value.as_str() {
        "true" => Ok(true),
        "false" if has_path => Err(option.wrong("the table has an http.path: leave one of them out")),
        "false" => Ok(false),
        _ => Err(option.wrong("it is 'true' or 'false'")),
    });
    if let (Some(body), false) = (&body, has_path) {
        errors.push(body.without_effect("a table without 'http.path'"));
    }
    if !open {
        for option in [&key, &id].into_iter().flatten() {
            errors.push(option.without_effect("a table without 'http.ingest' = 'true' or an 'http.path'"));
        }
        return None;
    }
    let path = read(path, None, errors, |option| self::path(option).map(Some));
    let body = read(body, HttpBody::Records, errors, self::body);
    Some(HttpOptions { path, body, key, id })
}

fn path(option: &GivenOption) -> Result<String> {
    let path = option.value.as_str();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-');
    let is_path = path.starts_with(PREFIX)
        && path.len() <= PATH_BYTES_MAX
        && path.chars().all(allowed)
        && path.split('/').skip(1).all(|part| !part.is_empty());
    let is_taken =
        TAKEN.iter().any(|taken| path.strip_prefix(taken).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    match (is_path, is_taken) {
        (true, false) => Ok(path.to_owned()),
        (true, true) => Err(option.wrong("the server has that path itself; choose another one below /api/")),
        (false, _) => Err(option.wrong("write letters, digits, '_', '-' and '/', as in '/api/orders'")),
    }
}

fn body(option: &GivenOption) -> Result<HttpBody> {
    match option.value.as_str() {
        "records" => Ok(HttpBody::Records),
        "record" => Ok(HttpBody::Record),
        field => match field.strip_suffix("[]").filter(|name| !name.is_empty()) {
            Some(name) => Ok(HttpBody::Field(name.to_owned())),
            None => Err(option.wrong(
                "it is 'records', 'record' for one record, or the field that is the list of records, as in 'events[]'",
            )),
        },
    }
}

impl HttpOptions {
    /// Checks what the options say against the table's columns. `names`: of all columns.
    pub(crate) fn checked(
        self,
        columns: &HashMap<String, Column>,
        names: &[&str],
        rows: &RecordRows,
        errors: &mut Vec<Error>,
    ) -> HttpIngest {
        if let (Some(option), false) = (self.key.as_ref().or(self.id.as_ref()), *rows == RecordRows::One) {
            errors.push(option.without_effect("a table whose records have several rows"));
        }
        let mut named = |option: Option<GivenOption>| {
            let option = option?;
            match named_column(&option, columns, names) {
                Ok(()) => Some(option.value),
                Err(error) => {
                    errors.push(error);
                    None
                }
            }
        };
        let (key, id) = (named(self.key), named(self.id));
        HttpIngest { path: self.path, body: self.body, key, id }
    }
}

fn named_column(option: &GivenOption, columns: &HashMap<String, Column>, names: &[&str]) -> Result<()> {
    if !names.contains(&option.value.as_str()) {
        let what = format!("option \"{}\"", option.key);
        return Err(unknown_column(&what, &option.value, names).at(option.value_at.clone()));
    }
    // A column that is itself wrong has been reported.
    let Some(column) = columns.get(&option.value) else { return Ok(()) };
    if column.nullable || !matches!(column.kind, ColumnKind::Physical { .. }) || column.data_type.is_nested() {
        return Err(Error::invalid(format!("option \"{}\" needs a column that every record has", option.key))
            .detail(format!("column \"{}\" may be NULL, is made elsewhere, or is a list or the like", column.name))
            .hint("name a column of the record that is NOT NULL, of a simple type")
            .at(option.value_at.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Statement, TableDef};
    use crate::sql::parse_file;

    fn table(options: &str) -> Result<TableDef, Vec<String>> {
        let text = format!(
            "CREATE TABLE t (id UUID NOT NULL, note VARCHAR, o BIGINT METADATA FROM 'offset')
             WITH ('connector' = 'kafka', 'topic' = 't'{options})"
        );
        match parse_file("t.sql", &text).map(|statements| statements.into_iter().next()) {
            Ok(Some(Statement::CreateTable(table))) => Ok(table),
            Ok(other) => panic!("{other:?}"),
            Err(errors) => Err(errors.iter().map(Error::report).collect()),
        }
    }

    #[test]
    fn a_table_is_closed_until_its_options_open_it() {
        assert_eq!(table("").unwrap().http, None);
        assert_eq!(table(", 'http.ingest' = 'false'").unwrap().http, None);
        let open = HttpIngest { path: None, body: HttpBody::Records, key: None, id: None };
        assert_eq!(table(", 'http.ingest' = 'true'").unwrap().http, Some(open));
        let said = ", 'http.path' = '/api/orders', 'http.body' = 'orders[]', 'http.key' = 'id', 'http.id' = 'id'";
        let expected = HttpIngest {
            path: Some("/api/orders".into()),
            body: HttpBody::Field("orders".into()),
            key: Some("id".into()),
            id: Some("id".into()),
        };
        assert_eq!(table(said).unwrap().http, Some(expected));
        assert_eq!(
            table(", 'http.path' = '/api/o', 'http.body' = 'record'").unwrap().http.unwrap().body,
            HttpBody::Record
        );
    }

    #[test]
    fn what_cannot_be_is_refused_at_its_place() {
        for (options, expected) in [
            (", 'http.path' = '/orders'", "option \"http.path\" cannot be \"/orders\""),
            (", 'http.path' = '/api/a/../b'", "option \"http.path\" cannot be"),
            (", 'http.path' = '/api/ingest/t'", "the server has that path itself"),
            (", 'http.path' = '/api//a'", "option \"http.path\" cannot be"),
            (", 'http.path' = '/api/a', 'http.ingest' = 'false'", "option \"http.ingest\" cannot be \"false\""),
            (", 'http.ingest' = 'yes'", "option \"http.ingest\" cannot be \"yes\""),
            (", 'http.ingest' = 'true', 'http.body' = 'record'", "option \"http.body\" has no effect"),
            (", 'http.path' = '/api/a', 'http.body' = '[]'", "option \"http.body\" cannot be \"[]\""),
            (", 'http.key' = 'id'", "option \"http.key\" has no effect"),
            (", 'http.ingest' = 'true', 'http.key' = 'idd'", "option \"http.key\" names column \"idd\""),
            (
                ", 'http.ingest' = 'true', 'http.key' = 'note'",
                "option \"http.key\" needs a column that every record has",
            ),
            (", 'http.ingest' = 'true', 'http.id' = 'o'", "option \"http.id\" needs a column that every record has"),
        ] {
            let errors = table(options).expect_err(options);
            assert!(errors[0].contains(expected) && errors[0].starts_with("t.sql:"), "{options}: {errors:?}");
        }
        let errors = parse_file(
            "t.sql",
            "CREATE TABLE t (a INT) WITH ('connector' = 'filesystem', 'path' = 'a.csv', 'http.ingest' = 'true')",
        )
        .expect_err("a file takes no records");
        assert!(errors[0].report().contains("belongs to connector 'kafka'"), "{}", errors[0].report());
    }
}
