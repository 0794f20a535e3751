//! The rows of a table that somebody else keeps, for lookups: all of one version, as JSON objects.
//!
//! One transaction (REPEATABLE READ, READ ONLY) on a connection of its own, and a cursor: the database keeps the version, and no more rows
//! are here at a time than were asked for. It blocks, and is meant for a reader's thread.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::time::Duration;

use arrow::datatypes::DataType;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::PostgresSettings;
use super::connection::{Pool, timed_out, told};
use super::ddl::quote;
use crate::catalog::{Column, PostgresAddress, PostgresTable};
use crate::config::Secret;
use crate::error::{Error, Result};

/// Longest text of an address in a file.
const ADDRESS_BYTES_MAX: usize = 16 << 10;

/// An open table. Dropping it closes its connection.
#[derive(Debug)]
pub struct TableRows {
    client: Client,
    work: Work,
    // After the client: dropped last, with the connection's own task.
    runtime: Runtime,
}

/// What is read, and for how long one answer of the database is waited for.
#[derive(Debug)]
struct Work {
    what: String,
    patience: Duration,
    table: PostgresTable,
}

impl TableRows {
    /// Begins to read: of each row the fields of `columns`, by the columns' own names.
    ///
    /// # Errors
    /// `Invalid` where there is no address, or no such table or column, or it may not be read; `Unavailable` where the database does not
    /// answer.
    pub fn open(settings: &PostgresSettings, table: &PostgresTable, columns: &[&Column]) -> Result<Self> {
        let (settings, setting) = addressed(settings, &table.address)?;
        let pool = Pool::named(&settings, &setting).map_err(|error| discreet(error, &table.address))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::unavailable("cannot start to read from Postgres").caused_by(error))?;
        let work = Work {
            what: format!("read table {table} of Postgres at {}", pool.target),
            // The server ends a statement that takes too long; where it does not, it is gone.
            patience: settings.statement_timeout.saturating_add(settings.connect_timeout),
            table: table.clone(),
        };
        let client = runtime.block_on(async {
            let client = pool.open().await?;
            let begin = begin(&settings);
            work.patiently(client.batch_execute(&begin)).await?;
            let found = work.patiently(find(&client, table)).await?;
            let query = query_of(table, columns, &found.columns, &pool.target)?;
            work.patiently(client.batch_execute("COMMIT")).await?;
            // The version is that of the first statement that reads. A table that is being emptied by TRUNCATE and filled again is waited for
            // before: to a version from before that it would be empty.
            work.patiently(client.batch_execute(&begin)).await?;
            if found.can_be_locked {
                work.patiently(client.batch_execute(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", qualified(table)?)))
                    .await?;
            }
            let declare = format!("DECLARE touchline_rows NO SCROLL CURSOR FOR {query}");
            work.patiently(client.batch_execute(&declare)).await?;
            Ok::<_, Error>(client)
        })?;
        Ok(TableRows { client, work, runtime })
    }

    /// The next rows, at most `rows_max` (at least 1). Fewer than that: there are no more.
    ///
    /// # Errors
    /// As for opening.
    pub fn fetch(&mut self, rows_max: usize) -> Result<Vec<String>> {
        let rows_max = rows_max.max(1);
        let fetch = format!("FETCH FORWARD {rows_max} FROM touchline_rows");
        self.runtime.block_on(async {
            let answers = self.work.patiently(self.client.simple_query(&fetch)).await?;
            let rows = answers.iter().filter_map(row).collect::<Result<Vec<String>, _>>();
            let rows = rows.map_err(|error| self.work.failed(&error))?;
            if rows.len() < rows_max {
                // It says good-bye, so that the database does not log a connection that broke in a transaction.
                self.work.patiently(self.client.batch_execute("COMMIT")).await?;
            }
            Ok::<_, Error>(rows)
        })
    }
}

/// Each counts, whatever is in it: one that was left out would look like the end.
fn row(answer: &SimpleQueryMessage) -> Option<Result<String, tokio_postgres::Error>> {
    match answer {
        SimpleQueryMessage::Row(row) => Some(row.try_get(0).map(|text| text.unwrap_or_default().to_owned())),
        _ => None,
    }
}

impl Work {
    async fn patiently<T>(&self, asked: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
        match tokio::time::timeout(self.patience, asked).await {
            Ok(answered) => answered.map_err(|error| self.failed(&error)),
            Err(_) => Err(timed_out(&self.what, self.patience)),
        }
    }

    fn failed(&self, error: &tokio_postgres::Error) -> Error {
        let ours = told(&self.what, error);
        let PostgresTable { schema, name, .. } = &self.table;
        match error.code().map_or("", |code| code.code()) {
            "42501" => ours.hint(format!(
                "let the user of its address read it: GRANT USAGE ON SCHEMA \"{schema}\" TO …; GRANT SELECT ON \"{schema}\".\"{name}\" TO …"
            )),
            "55P03" => ours.hint("someone holds a lock on the table; it is tried again"),
            "57014" => {
                ours.hint("the database took longer for a part of it than postgres.statement_timeout; raise it, or read a simpler view")
            }
            "42P01" | "42703" => ours.hint("it was changed while it was read; it is tried again"),
            _ => ours,
        }
    }
}

/// The settings with the address that the table names, and what that is called in messages.
fn addressed(settings: &PostgresSettings, address: &PostgresAddress) -> Result<(PostgresSettings, String)> {
    let (url, setting) = match address {
        PostgresAddress::Server if settings.url.is_none() => {
            return Err(Error::invalid("the table is in the server's Postgres, and no address of it is configured here").hint(
                "set postgres.url in touchline.toml, or name an environment variable with the address by 'url-env' = '…' in the table's \
                 WITH; `touchline run` has the second alone",
            ));
        }
        PostgresAddress::Server => return Ok((settings.clone(), "postgres.url".to_owned())),
        PostgresAddress::Env(name) => {
            let url = std::env::var(name).map_err(|_| {
                Error::invalid(format!("environment variable {name} is not set")).hint(
                    "'url-env' names the variable that holds the address: postgres://user:password@host:5432/database",
                )
            })?;
            (url, format!("environment variable {name}"))
        }
        PostgresAddress::File(path) => {
            let mut url = String::new();
            // One byte more tells that it is too long, however long it is.
            let read =
                File::open(path).and_then(|file| file.take(ADDRESS_BYTES_MAX as u64 + 1).read_to_string(&mut url));
            read.map_err(|error| {
                Error::unavailable(format!("cannot read {path}, named by 'url-file'")).caused_by(error)
            })?;
            (url, format!("file {path}"))
        }
    };
    let url = url.trim();
    if url.is_empty() || url.len() > ADDRESS_BYTES_MAX {
        return Err(Error::invalid(format!("{setting} does not hold an address of a Postgres database"))
            .hint("it is one line: postgres://user:password@host:5432/database"));
    }
    Ok((PostgresSettings { url: Some(Secret::new(url)), ..settings.clone() }, setting))
}

/// A variable that somebody names may hold another secret: what the client says about it could quote it.
fn discreet(error: Error, address: &PostgresAddress) -> Error {
    match address {
        PostgresAddress::Server => error,
        PostgresAddress::Env(_) | PostgresAddress::File(_) => {
            let ours = Error::new(error.kind(), error.primary());
            match error.hint_text() {
                Some(hint) => ours.hint(hint),
                None => ours,
            }
        }
    }
}

/// Times are written in UTC, whatever the database is set to.
fn begin(settings: &PostgresSettings) -> String {
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL client_min_messages = warning; \
         SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; \
         SET LOCAL intervalstyle = 'iso_8601'; SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'",
        settings.lock_timeout.as_millis(),
        settings.statement_timeout.as_millis()
    )
}

/// What the database says of a table.
struct Found {
    /// The columns with the names of their types, of a domain that of what it is over; empty where there is no table.
    columns: BTreeMap<String, String>,
    /// It is of a kind that can be, and may be read as a whole.
    can_be_locked: bool,
}

async fn find(client: &Client, table: &PostgresTable) -> Result<Found, tokio_postgres::Error> {
    let rows = client
        .query_typed(
            "SELECT a.attname::text, coalesce(b.typname, t.typname)::text, \
             c.relkind IN ('r', 'p', 'v') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
             LEFT JOIN pg_catalog.pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype \
             WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 \
             AND NOT a.attisdropped",
            &[(&table.schema, Type::TEXT), (&table.name, Type::TEXT)],
        )
        .await?;
    let mut found = Found { columns: BTreeMap::new(), can_be_locked: false };
    for row in rows {
        found.columns.insert(row.try_get(0)?, row.try_get(1)?);
        found.can_be_locked = row.try_get(2)?;
    }
    Ok(found)
}

fn qualified(table: &PostgresTable) -> Result<String> {
    Ok(format!("{}.{}", quote(&table.schema)?, quote(&table.name)?))
}

/// One text a row: a JSON object with the fields that the columns are decoded from. `found`: the table's columns with their types.
///
/// # Errors
/// `Invalid` where there is no such table, or a column is not in it.
fn query_of(
    table: &PostgresTable,
    columns: &[&Column],
    found: &BTreeMap<String, String>,
    target: &str,
) -> Result<String> {
    if found.is_empty() {
        return Err(Error::invalid(format!("there is no table {table} in Postgres at {target}")).hint(
            "create it, or correct 'table' in the table's WITH (…): 'schema.name', as the database has it, which writes names without \
             quotes in lower case",
        ));
    }
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        let Some((name, held)) = column.field_names().find_map(|name| found.get_key_value(name)) else {
            let has: Vec<&str> = found.keys().map(String::as_str).collect();
            let wanted = &column.name;
            return Err(Error::invalid(format!("table {table} in Postgres at {target} has no column \"{wanted}\""))
                .detail(format!("it has {}", has.join(", ")))
                .hint(format!(
                    "correct the name of the column, or write 'aliases.{wanted}' = '…' for what the database calls it"
                )));
        };
        let field = written_as(&format!("t.{}", quote(name)?), held, column);
        fields.push(format!("{field} AS {}", quote(&column.name)?));
    }
    let from = format!("{} AS t", qualified(table)?);
    // A row without columns is no JSON object.
    if fields.is_empty() {
        return Ok(format!("SELECT '{{}}'::text FROM {from}"));
    }
    // Without the star, a column that is called `r` would be meant.
    Ok(format!("SELECT pg_catalog.row_to_json(r.*)::text FROM (SELECT {} FROM {from}) AS r", fields.join(", ")))
}

/// The expression whose JSON form is what a record has for such a column. `held`: the type in the database.
fn written_as(expression: &str, held: &str, column: &Column) -> String {
    let is_json = column.reading.json.is_whole();
    match (&column.data_type, held) {
        // Without the line ends that stand after 76 characters.
        (DataType::Binary | DataType::LargeBinary | DataType::BinaryView, "bytea") => {
            format!("pg_catalog.translate(pg_catalog.encode({expression}, 'base64'), E'\\n', '')")
        }
        // What is text there already stays as it is; all else has one.
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, _) if !is_json => format!("{expression}::text"),
        // Its midnight.
        (DataType::Timestamp(..), "date") => format!("{expression}::timestamp"),
        _ => expression.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;
    use crate::catalog::{ColumnKind, JsonPlaces};

    fn countries(address: PostgresAddress) -> PostgresTable {
        PostgresTable { schema: "public".into(), name: "Countries".into(), address }
    }

    fn found(columns: &[(&str, &str)]) -> BTreeMap<String, String> {
        columns.iter().map(|(name, held)| ((*name).to_owned(), (*held).to_owned())).collect()
    }

    fn query(columns: &[Column], held: &[(&str, &str)]) -> Result<String> {
        let columns: Vec<&Column> = columns.iter().collect();
        query_of(&countries(PostgresAddress::Server), &columns, &found(held), "db:5432/d")
    }

    #[test]
    fn each_row_is_an_object_with_the_fields_that_are_decoded() {
        let mut alias = Column::physical("since", DataType::Timestamp(TimeUnit::Millisecond, None), true);
        alias.kind = ColumnKind::Physical { aliases: vec!["Since \"day\"".into()], numbers_as_text: false };
        let mut json = Column::physical("extra", DataType::Utf8View, true);
        json.reading.json = JsonPlaces(vec![vec![]]);
        let columns = [
            Column::physical("code", DataType::Utf8View, false),
            Column::physical("people", DataType::Int64, true),
            Column::physical("flag", DataType::Binary, true),
            alias,
            json,
        ];
        let held = [
            ("code", "bpchar"),
            ("people", "int8"),
            ("flag", "bytea"),
            ("Since \"day\"", "date"),
            ("extra", "jsonb"),
            ("x", "int4"),
        ];
        assert_eq!(
            query(&columns, &held).unwrap(),
            "SELECT pg_catalog.row_to_json(r.*)::text FROM (SELECT t.\"code\"::text AS \"code\", t.\"people\" AS \"people\", \
             pg_catalog.translate(pg_catalog.encode(t.\"flag\", 'base64'), E'\\n', '') AS \"flag\", \
             t.\"Since \"\"day\"\"\"::timestamp AS \"since\", t.\"extra\" AS \"extra\" FROM \"public\".\"Countries\" AS t) AS r"
        );
        assert_eq!(query(&[], &held).unwrap(), "SELECT '{}'::text FROM \"public\".\"Countries\" AS t");
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_write() {
        let columns = [Column::physical("code", DataType::Utf8View, false)];
        let error = query(&columns, &[]).unwrap_err();
        assert_eq!(error.primary(), "there is no table public.Countries in Postgres at db:5432/d");
        let error = query(&columns, &[("b", "int4"), ("a", "int4")]).unwrap_err();
        assert_eq!(error.primary(), "table public.Countries in Postgres at db:5432/d has no column \"code\"");
        assert_eq!(error.detail_text(), Some("it has a, b"));
        assert!(error.hint_text().unwrap().contains("'aliases.code' = '…'"), "{}", error.report());
    }

    #[test]
    fn an_address_is_looked_up_where_the_table_says_and_is_never_shown() {
        let none = PostgresSettings::default();
        let error = TableRows::open(&none, &countries(PostgresAddress::Server), &[]).unwrap_err();
        assert!(error.primary().contains("no address of it is configured"), "{}", error.report());
        let unset = PostgresAddress::Env("TOUCHLINE_TEST_NOT_SET".into());
        let error = TableRows::open(&none, &countries(unset), &[]).unwrap_err();
        assert_eq!(error.primary(), "environment variable TOUCHLINE_TEST_NOT_SET is not set");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url").display().to_string();
        std::fs::write(&path, "hunter2=hunter2\n").unwrap();
        let error = TableRows::open(&none, &countries(PostgresAddress::File(path.clone())), &[]).unwrap_err();
        assert_eq!(error.primary(), format!("file {path} is not an address of a Postgres database"));
        assert!(!error.report().contains("hunter2"), "{}", error.report());
        // No more of it is read than an address can have.
        let endless = addressed(&none, &PostgresAddress::File("/dev/zero".into())).unwrap_err();
        assert_eq!(endless.primary(), "file /dev/zero does not hold an address of a Postgres database");
        std::fs::write(&path, "postgres://u:hunter2@db/d\n").unwrap();
        let (settings, setting) = addressed(&none, &PostgresAddress::File(path.clone())).unwrap();
        assert_eq!(settings.url.unwrap().expose(), "postgres://u:hunter2@db/d");
        assert_eq!(setting, format!("file {path}"));
    }
}
