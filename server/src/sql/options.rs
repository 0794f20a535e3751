//! `WITH (…)`: options by name, each taken once, the rest refused with the nearest known name.

mod http;

use std::time::Duration;

use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::sql::sqlparser::tokenizer::Token;
use touchline_udfs::json::{Path, Step};

pub(crate) use self::http::HttpOptions;

use super::interval;
use super::parser::StatementParser;
use super::peers;
use crate::catalog::{
    CSV_DELIMITER_DEFAULT, Compression, Connector, FieldPath, FilesystemPath, Format, KafkaTopic, OnBadRow, OnChange,
    ParquetRows, PostgresAddress, PostgresTable, RecordRows, StartAt, TimestampFormat, ViewOptions,
};
use crate::error::{Error, Location, Result};

const KAFKA: &[&str] = &[
    "topic",
    "brokers",
    "properties.bootstrap.servers",
    "scan.startup.mode",
    "http.ingest",
    "http.path",
    "http.body",
    "http.key",
    "http.id",
];
const FILESYSTEM: &[&str] = &["path", "csv.delimiter", REFRESH_INTERVAL];
const POSTGRES: &[&str] = &["table", "url-env", "url-file", REFRESH_INTERVAL];
const TABLE: &[&str] = &[
    "connector",
    "format",
    "on-bad-row",
    "idle-timeout",
    "watermark-max-future",
    "aliases.<column>",
    "numbers-as-text",
    "timestamp-format",
    "timestamp-format.<column>",
    "json.rows",
    "json.path.<column>",
    "on-null",
];
/// Options about one column, whose name stands behind these.
const OF_COLUMNS: &[&str] = &["aliases.", "timestamp-format.", "json.path."];
const VIEW: &[&str] = &[
    "primary-key",
    TIME_COLUMN,
    "allowed-lateness",
    "postgres",
    PARQUET_ROWS,
    SESSION_MAX_LENGTH,
    STATE_TTL,
    ON_CHANGE,
];

/// An option of a static table.
const REFRESH_INTERVAL: &str = "refresh-interval";

/// Options of a view.
pub(crate) const SESSION_MAX_LENGTH: &str = "session-max-length";
pub(crate) const TIME_COLUMN: &str = "time-column";
pub(crate) const STATE_TTL: &str = "state-ttl";
pub(crate) const ON_CHANGE: &str = "on-change";
pub(crate) const PARQUET_ROWS: &str = "parquet.rows";

const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
const MAX_FUTURE_DEFAULT: Duration = Duration::from_secs(300);
const TOPIC_BYTES_MAX: usize = 249;
/// Of a schema's or a table's name in Postgres.
const POSTGRES_NAME_BYTES_MAX: usize = 63;
/// Looking at files takes some microseconds each; more often than this nobody has a file written.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// One `'key' = 'value'`.
#[derive(Debug, Clone)]
pub(crate) struct GivenOption {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) key_at: Location,
    pub(crate) value_at: Location,
}

impl GivenOption {
    pub(crate) fn wrong(&self, expected: &str) -> Error {
        Error::invalid(format!("option \"{}\" cannot be \"{}\"", self.key, self.value))
            .hint(expected)
            .at(self.value_at.clone())
    }

    pub(crate) fn without_effect(&self, on: &str) -> Error {
        Error::invalid(format!("option \"{}\" has no effect on {on}", self.key))
            .hint("leave it out")
            .at(self.key_at.clone())
    }

    fn duration(&self) -> Result<Duration> {
        interval::from_text(&self.value).map_err(|why| {
            Error::invalid(format!("option \"{}\" {why}", self.key))
                .detail(format!("it is \"{}\"", self.value))
                .at(self.value_at.clone())
        })
    }

    /// A length that must not be zero. `otherwise`: what to write for what may have been meant.
    fn duration_above_zero(&self, otherwise: &str) -> Result<Duration> {
        match self.duration()? {
            Duration::ZERO => Err(Error::invalid(format!("option \"{}\" must be longer than zero", self.key))
                .detail(format!("it is \"{}\"", self.value))
                .hint(otherwise)
                .at(self.value_at.clone())),
            length => Ok(length),
        }
    }

    /// `a, b` as a list.
    pub(crate) fn list(&self) -> Result<Vec<String>> {
        let parts: Vec<String> = self.value.split(',').map(|part| part.trim().to_owned()).collect();
        match parts.iter().any(String::is_empty) {
            true => Err(self.wrong("write names with commas between, as in 'a, b'")),
            false => Ok(parts),
        }
    }
}

/// What a `WITH (…)` gives, until taken.
#[derive(Debug, Default)]
pub(crate) struct Options {
    given: Vec<GivenOption>,
}

impl Options {
    /// Reads `( key = value, … )` behind WITH. Keys are quoted, or words joined by dots; values strings, numbers or booleans.
    pub(crate) fn parse(statement: &mut StatementParser<'_>) -> Result<Self> {
        statement.expect_token(&Token::LParen)?;
        let mut options = Options::default();
        if statement.parser.consume_token(&Token::RParen) {
            return Ok(options);
        }
        loop {
            options.add(option(statement)?)?;
            if statement.parser.consume_token(&Token::Comma) {
                continue;
            }
            statement.expect_token(&Token::RParen)?;
            return Ok(options);
        }
    }

    /// One that is said in other words.
    pub(crate) fn of(option: GivenOption) -> Self {
        Options { given: vec![option] }
    }

    /// # Errors
    /// `Invalid` where both have an option.
    pub(crate) fn joined(mut self, others: Options) -> Result<Self> {
        for option in others.given {
            self.add(option)?;
        }
        Ok(self)
    }

    fn add(&mut self, option: GivenOption) -> Result<()> {
        if let Some(first) = self.given.iter().find(|given| given.key == option.key) {
            return Err(Error::invalid(format!("option \"{}\" is given twice", option.key))
                .detail(format!("first at {}", first.key_at))
                .at(option.key_at));
        }
        self.given.push(option);
        Ok(())
    }

    /// Where an option's name stands, if it is given.
    pub(crate) fn place_of(&self, key: &str) -> Option<Location> {
        self.given.iter().find(|given| given.key == key).map(|given| given.key_at.clone())
    }

    fn take(&mut self, key: &str) -> Option<GivenOption> {
        let at = self.given.iter().position(|given| given.key == key)?;
        Some(self.given.remove(at))
    }

    /// The options whose names begin so, the prefix cut off.
    pub(crate) fn take_prefixed(&mut self, prefix: &str) -> Vec<(String, GivenOption)> {
        let (taken, rest) =
            std::mem::take(&mut self.given).into_iter().partition(|given| given.key.starts_with(prefix));
        self.given = rest;
        let taken: Vec<GivenOption> = taken;
        taken.into_iter().map(|given| (given.key[prefix.len()..].to_owned(), given)).collect()
    }

    /// Refuses what nobody took. `elsewhere`: options known, but of another connector.
    fn refuse_rest(self, known: &[&str], elsewhere: &[(&str, &str)], errors: &mut Vec<Error>) {
        for GivenOption { key, key_at, .. } in self.given {
            let error = match elsewhere.iter().find(|(option, _)| *option == key) {
                Some((_, connector)) => Error::invalid(format!("option \"{key}\" belongs to connector '{connector}'")),
                None => Error::invalid(format!("option \"{key}\" is not known")),
            };
            let hint = match (peers::option_hint(&key), nearest(&key, known)) {
                (Some(hint), _) => hint.to_owned(),
                (None, Some(near)) => format!("did you mean \"{near}\"?"),
                (None, None) => format!("known are {}", known.join(", ")),
            };
            errors.push(error.hint(hint).at(key_at));
        }
    }
}

fn option(statement: &mut StatementParser<'_>) -> Result<GivenOption> {
    let key_at = statement.here();
    let mut key = match statement.parser.next_token().token {
        Token::SingleQuotedString(key) | Token::DoubleQuotedString(key) => key,
        Token::Word(word) => word.value,
        other => return Err(expected("the name of an option", &other, key_at)),
    };
    while statement.parser.consume_token(&Token::Period) {
        match statement.parser.next_token().token {
            Token::Word(word) => key = format!("{key}.{}", word.value),
            other => return Err(expected("the name of an option", &other, key_at)),
        }
    }
    statement.expect_token(&Token::Eq)?;
    let value_at = statement.here();
    let value = match statement.parser.next_token().token {
        Token::SingleQuotedString(value) | Token::DoubleQuotedString(value) | Token::Number(value, _) => value,
        Token::Word(word) if word.value.eq_ignore_ascii_case("true") => "true".to_owned(),
        Token::Word(word) if word.value.eq_ignore_ascii_case("false") => "false".to_owned(),
        other => return Err(expected("a value in single quotes", &other, value_at)),
    };
    // A column's name keeps its case.
    if !OF_COLUMNS.iter().any(|prefix| key.starts_with(prefix)) {
        key = key.to_lowercase();
    }
    Ok(GivenOption { key, value, key_at, value_at })
}

fn expected(what: &str, found: &Token, at: Location) -> Error {
    match found {
        Token::EOF => Error::invalid(format!("expected {what}, found the end of the statement")).at(at),
        found => Error::invalid(format!("expected {what}, found `{found}`")).at(at),
    }
}

/// The known name that was probably meant: at most a third of it mistyped, `_` and `-` being the same.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase().replace('_', "-");
    known
        .iter()
        .map(|known| (levenshtein(&name, known), *known))
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3))
        .min()
        .map(|(_, known)| known)
}

/// What the options of a table say, apart from the columns.
pub(crate) struct TableOptions {
    pub(crate) connector: Connector,
    pub(crate) format: Format,
    pub(crate) csv_delimiter: u8,
    pub(crate) on_bad_row: OnBadRow,
    pub(crate) refresh_interval: Option<Duration>,
    pub(crate) http: Option<HttpOptions>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_future: Duration,
    /// Column name → option, for `aliases.<column>`.
    pub(crate) aliases: Vec<(String, GivenOption)>,
    pub(crate) numbers_as_text: Option<GivenOption>,
    /// The one for all columns, with its key, and those for one: column name → option.
    pub(crate) timestamp_format: Option<GivenOption>,
    pub(crate) timestamp_formats: Vec<(String, GivenOption)>,
    pub(crate) rows: RecordRows,
    /// Column name → option, for `json.path.<column>`.
    pub(crate) json_paths: Vec<(String, GivenOption)>,
    pub(crate) on_null: Option<GivenOption>,
}

/// `table_at`: the place of what is missing. `None` where the connector or format cannot be told; `errors` then say why.
pub(crate) fn table_options(
    mut given: Options,
    has_watermark: bool,
    table_at: &Location,
    errors: &mut Vec<Error>,
) -> Option<TableOptions> {
    let aliases = given.take_prefixed("aliases.");
    let numbers_as_text = given.take("numbers-as-text");
    let timestamp_formats = given.take_prefixed("timestamp-format.");
    let timestamp_format = given.take("timestamp-format");
    let json_rows = given.take("json.rows");
    let json_paths = given.take_prefixed("json.path.");
    let on_null = given.take("on-null");
    let on_bad_row = given.take("on-bad-row");
    let on_bad_row = read(on_bad_row, OnBadRow::DeadLetter, errors, |option| {
        let declared = OnBadRow::DECLARED.into_iter().find(|(name, _)| *name == option.value);
        declared.map(|(_, on_bad_row)| on_bad_row).ok_or_else(|| option.wrong("it is 'dead-letter' or 'fail'"))
    });
    let idle = given.take("idle-timeout");
    let future = given.take("watermark-max-future");
    if !has_watermark {
        for option in [&idle, &future].into_iter().flatten() {
            errors.push(
                Error::invalid(format!("option \"{}\" has no effect on a table without a watermark", option.key))
                    .hint("add WATERMARK FOR … AS … - INTERVAL '5' SECOND, or leave the option out")
                    .at(option.key_at.clone()),
            );
        }
    }
    let idle_timeout = read(idle, Some(IDLE_TIMEOUT_DEFAULT), errors, |option| match option.value.as_str() {
        "never" => Ok(None),
        // A partition would be idle before its first row, and all of them always.
        _ => option.duration_above_zero("'never' lets a silent partition hold the watermark for ever").map(Some),
    });
    let max_future = read(future, MAX_FUTURE_DEFAULT, errors, GivenOption::duration);
    let format = given.take("format");

    let Some(connector) = given.take("connector") else {
        errors.push(
            Error::invalid("option \"connector\" is missing")
                .hint("add 'connector' = 'kafka', 'filesystem' or 'postgres'")
                .at(table_at.clone()),
        );
        // Which options there are depends on the connector; what peers call theirs does not.
        given.given.retain(|option| peers::option_hint(&option.key).is_some());
        given.refuse_rest(TABLE, &[], errors);
        return None;
    };
    let (mut refresh_interval, mut http) = (None, None);
    let (connector, format, csv_delimiter) = match connector.value.as_str() {
        "kafka" => {
            let topic = kafka(&mut given, table_at, errors);
            http = http::take(&mut given, errors);
            let format = kafka_format(format, errors);
            given.refuse_rest(&[TABLE, KAFKA].concat(), &elsewhere("kafka"), errors);
            (Connector::Kafka(topic?), format?, CSV_DELIMITER_DEFAULT)
        }
        "filesystem" => {
            let path = required(&mut given, "path", "filesystem", "'path' = 'data/events.ndjson'", table_at, errors);
            let format = filesystem_format(format, path.as_deref(), table_at, errors);
            let delimiter = given.take("csv.delimiter");
            refresh_interval = refreshing(given.take(REFRESH_INTERVAL), has_watermark, errors);
            given.refuse_rest(&[TABLE, FILESYSTEM].concat(), &elsewhere("filesystem"), errors);
            let csv_delimiter = csv_delimiter(delimiter, format, errors);
            (Connector::Filesystem(FilesystemPath { path: path? }), format?, csv_delimiter)
        }
        "postgres" => {
            if has_watermark {
                errors.push(
                    Error::invalid("a table of connector 'postgres' is read whole, and has no watermark")
                        .hint("leave WATERMARK out to look rows up in it; a stream of its changes can come through a topic")
                        .at(table_at.clone()),
                );
            }
            let shapes = [&json_rows, &numbers_as_text, &format].into_iter().flatten();
            let shapes = shapes.chain(json_paths.iter().map(|(_, option)| option));
            errors.extend(shapes.map(|option| option.without_effect("connector 'postgres', whose rows have columns")));
            let table = postgres(&mut given, table_at, errors);
            refresh_interval = refreshing(given.take(REFRESH_INTERVAL), false, errors);
            given.refuse_rest(&[TABLE, POSTGRES].concat(), &elsewhere("postgres"), errors);
            (Connector::Postgres(table?), Format::Json, CSV_DELIMITER_DEFAULT)
        }
        other => {
            let near = nearest(other, &["kafka", "filesystem", "postgres"])
                .map_or(String::new(), |near| format!("; did you mean '{near}'?"));
            errors.push(
                Error::invalid(format!("connector \"{other}\" is not known"))
                    .hint(format!("known are 'kafka', 'filesystem' and 'postgres'{near}"))
                    .at(connector.value_at),
            );
            return None;
        }
    };
    let rows = json_rows.map_or(Ok(RecordRows::One), |option| record_rows(&option, &connector, format));
    let rows = rows.map_err(|error| errors.push(error)).unwrap_or_default();
    Some(TableOptions {
        rows,
        json_paths,
        on_null,
        connector,
        format,
        csv_delimiter,
        on_bad_row,
        refresh_interval,
        http,
        idle_timeout,
        max_future,
        aliases,
        numbers_as_text,
        timestamp_format,
        timestamp_formats,
    })
}

/// The option's value where it is given and right; else the default, with the mistake noted.
fn read<T>(
    option: Option<GivenOption>,
    default: T,
    errors: &mut Vec<Error>,
    parse: impl Fn(&GivenOption) -> Result<T>,
) -> T {
    match option.as_ref().map(parse) {
        None => default,
        Some(Ok(value)) => value,
        Some(Err(error)) => {
            errors.push(error);
            default
        }
    }
}

fn required(
    given: &mut Options,
    key: &str,
    connector: &str,
    example: &str,
    table_at: &Location,
    errors: &mut Vec<Error>,
) -> Option<String> {
    let error = match given.take(key) {
        Some(option) if !option.value.trim().is_empty() => return Some(option.value),
        Some(option) => option.wrong("it must not be empty"),
        None => Error::invalid(format!("option \"{key}\" is missing"))
            .hint(format!("connector '{connector}' needs it, as in {example}"))
            .at(table_at.clone()),
    };
    errors.push(error);
    None
}

fn kafka(given: &mut Options, table_at: &Location, errors: &mut Vec<Error>) -> Option<KafkaTopic> {
    let topic_at = given.given.iter().find(|given| given.key == "topic").map(|given| given.value_at.clone());
    let topic = required(given, "topic", "kafka", "'topic' = 'match-events'", table_at, errors);
    if let Some(topic) = &topic
        && !is_topic(topic)
    {
        errors.push(
            Error::invalid(format!("\"{topic}\" cannot be the name of a topic"))
                .hint(format!("use letters, digits, '.', '_' and '-', at most {TOPIC_BYTES_MAX} of them"))
                .at(topic_at.unwrap_or_else(|| table_at.clone())),
        );
    }
    let (short, long) = (given.take("brokers"), given.take("properties.bootstrap.servers"));
    if let (Some(_), Some(long)) = (&short, &long) {
        errors.push(
            Error::invalid("\"brokers\" and \"properties.bootstrap.servers\" mean the same")
                .hint("leave one out")
                .at(long.key_at.clone()),
        );
    }
    let brokers = read(short.or(long), None, errors, |option| match option.value.trim() {
        "" => Err(option.wrong("write host:port, several with commas between")),
        brokers => Ok(Some(brokers.to_owned())),
    });
    let start = given.take("scan.startup.mode");
    let start = read(start, StartAt::Earliest, errors, |option| match option.value.as_str() {
        "earliest" | "earliest-offset" => Ok(StartAt::Earliest),
        "latest" | "latest-offset" => Ok(StartAt::Latest),
        _ => Err(option.wrong("it is 'earliest' or 'latest'")),
    });
    Some(KafkaTopic { topic: topic?, brokers, start })
}

/// The options of the other connectors, with whose they are.
fn elsewhere(connector: &str) -> Vec<(&'static str, &'static str)> {
    let all = [("kafka", KAFKA), ("filesystem", FILESYSTEM), ("postgres", POSTGRES)];
    let others = all.into_iter().filter(|(name, _)| *name != connector);
    others.flat_map(|(name, options)| options.iter().map(move |option| (*option, name))).collect()
}

/// Of a database's table. Nothing that may be a password is said again.
fn postgres(given: &mut Options, table_at: &Location, errors: &mut Vec<Error>) -> Option<PostgresTable> {
    let name_at = given.given.iter().find(|given| given.key == "table").map(|given| given.value_at.clone());
    let table = required(given, "table", "postgres", "'table' = 'public.countries'", table_at, errors);
    let name = table.and_then(|table| {
        let name = postgres_name(&table);
        if name.is_none() {
            let error = Error::invalid(format!("\"{table}\" cannot be the name of a table in Postgres"))
                .hint("write 'schema.name' without quotes, or the name alone for one of schema public");
            errors.push(error.at(name_at.unwrap_or_else(|| table_at.clone())));
        }
        name
    });
    for key in ["url", "user", "username", "password"] {
        if let Some(option) = given.take(key) {
            errors.push(
                Error::invalid(format!("option \"{key}\" does not stand in a statement, which others can read"))
                    .hint(
                        "leave it out for the server's own database; for another one write 'url-env' = 'COUNTRIES_URL', an environment \
                         variable of the server that holds postgres://user:password@host:5432/database, or 'url-file' = '/path/of/such'",
                    )
                    .at(option.key_at),
            );
        }
    }
    let (env, file) = (given.take("url-env"), given.take("url-file"));
    if let (Some(_), Some(file)) = (&env, &file) {
        errors.push(
            Error::invalid("\"url-env\" and \"url-file\" both say where the address stands")
                .hint("leave one out")
                .at(file.key_at.clone()),
        );
    }
    let refused = |option: &GivenOption, what: &str, hint: &str| {
        Error::invalid(format!("option \"{}\" is not {what}", option.key)).hint(hint).at(option.value_at.clone())
    };
    let env = read(env, None, errors, |option| match is_variable(&option.value) {
        true => Ok(Some(PostgresAddress::Env(option.value.clone()))),
        false => Err(refused(
            option,
            "the name of an environment variable",
            "write its name, as in 'url-env' = 'COUNTRIES_URL'; the address itself stands in the variable",
        )),
    });
    let file = read(file, None, errors, |option| match option.value.starts_with('/') {
        true => Ok(Some(PostgresAddress::File(option.value.clone()))),
        false => Err(refused(
            option,
            "the absolute path of a file",
            "write it from '/', as in 'url-file' = '/run/secrets/countries_url'; the address itself stands in the file",
        )),
    });
    let (schema, name) = name?;
    Some(PostgresTable { schema, name, address: env.or(file).unwrap_or(PostgresAddress::Server) })
}

/// `schema.name`, or a name of schema `public`.
fn postgres_name(text: &str) -> Option<(String, String)> {
    let (schema, name) = text.split_once('.').unwrap_or(("public", text));
    let is_name = |part: &str| {
        (1..=POSTGRES_NAME_BYTES_MAX).contains(&part.len()) && !part.contains(['.', '"', '\0']) && part.trim() == part
    };
    (is_name(schema) && is_name(name)).then(|| (schema.to_owned(), name.to_owned()))
}

fn is_variable(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(word)
}

fn is_topic(name: &str) -> bool {
    name.len() <= TOPIC_BYTES_MAX
        && !matches!(name, "." | "..")
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn kafka_format(option: Option<GivenOption>, errors: &mut Vec<Error>) -> Option<Format> {
    let Some(option) = option else { return Some(Format::Json) };
    let error = match option.value.as_str() {
        "json" => return Some(Format::Json),
        "csv" | "parquet" => Error::invalid(format!("format \"{}\" is for files only", option.value))
            .hint("connector 'kafka' reads 'json'")
            .at(option.value_at),
        _ => unknown_format(&option),
    };
    errors.push(error);
    None
}

/// The format that a path's ending tells, that of its compression aside.
pub(crate) fn format_of(path: &str) -> Option<Format> {
    let (_, ending) = Compression::of(path).1.rsplit_once('.')?;
    match ending.to_lowercase().as_str() {
        "json" | "ndjson" | "jsonl" => Some(Format::Json),
        "csv" => Some(Format::Csv),
        "parquet" => Some(Format::Parquet),
        _ => None,
    }
}

/// Where no format is given, the path's ending tells.
fn filesystem_format(
    option: Option<GivenOption>,
    path: Option<&str>,
    table_at: &Location,
    errors: &mut Vec<Error>,
) -> Option<Format> {
    let format = declared_format(option, path, table_at, errors)?;
    if let (Format::Parquet, (Some(compression), _)) = (format, Compression::of(path.unwrap_or_default())) {
        errors.push(
            Error::invalid(format!("a Parquet file cannot be a {} file", compression.ending()))
                .hint("Parquet is compressed inside; decompress the file, or declare 'json' or 'csv' if it is that")
                .at(table_at.clone()),
        );
        return None;
    }
    Some(format)
}

fn declared_format(
    option: Option<GivenOption>,
    path: Option<&str>,
    table_at: &Location,
    errors: &mut Vec<Error>,
) -> Option<Format> {
    let Some(option) = option else {
        let format = format_of(path?);
        if format.is_none() {
            errors.push(
                Error::invalid("option \"format\" is missing")
                    .hint("the path does not tell it; add 'format' = 'json', 'csv' or 'parquet'")
                    .at(table_at.clone()),
            );
        }
        return format;
    };
    match option.value.as_str() {
        "json" => Some(Format::Json),
        "csv" => Some(Format::Csv),
        "parquet" => Some(Format::Parquet),
        _ => {
            errors.push(unknown_format(&option));
            None
        }
    }
}

fn csv_delimiter(option: Option<GivenOption>, format: Option<Format>, errors: &mut Vec<Error>) -> u8 {
    if let (Some(option), Some(Format::Json | Format::Parquet)) = (&option, format) {
        errors.push(
            Error::invalid(format!("option \"{}\" has no effect on a format other than 'csv'", option.key))
                .hint("leave it out")
                .at(option.key_at.clone()),
        );
    }
    read(option, CSV_DELIMITER_DEFAULT, errors, |option| match option.value.as_bytes() {
        br"\t" => Ok(b'\t'),
        [delimiter] if delimiter.is_ascii() && !matches!(delimiter, b'"' | b'\n' | b'\r') => Ok(*delimiter),
        _ => Err(option.wrong("write one character of ASCII, but no quote and no line end; '\\t' is a tab")),
    })
}

/// How often a static table is looked at again.
fn refreshing(option: Option<GivenOption>, has_watermark: bool, errors: &mut Vec<Error>) -> Option<Duration> {
    if let (Some(option), true) = (&option, has_watermark) {
        errors.push(
            option
                .without_effect("a table with a watermark")
                .detail("such a table is a stream, and its files are read once"),
        );
        return None;
    }
    read(option, None, errors, |option| match option.duration()? {
        interval if interval < REFRESH_INTERVAL_MIN => {
            let least = format!("{} ms", REFRESH_INTERVAL_MIN.as_millis());
            Err(option
                .wrong(&format!("it is at least '{least}', as in '30 seconds'; leave it out to read the table once")))
        }
        interval => Ok(Some(interval)),
    })
}

/// How many rows a record is.
fn record_rows(option: &GivenOption, connector: &Connector, format: Format) -> Result<RecordRows> {
    if format != Format::Json {
        return Err(option.without_effect("a format other than 'json'"));
    }
    match option.value.strip_suffix("[*]") {
        Some(list) => field_path(option, list).map(RecordRows::Elements),
        None if option.value == "lines" && matches!(connector, Connector::Filesystem(_)) => {
            Err(option.without_effect("files: each of their lines is a record"))
        }
        None if option.value == "lines" => Ok(RecordRows::Lines),
        None => {
            // The list itself, but for what makes rows of its elements.
            let whole = format!("{}[*]", option.value.trim().replace('\'', "''"));
            let is_way = Path::parse(option.value.trim()).is_ok();
            let example = if is_way { whole.as_str() } else { "$.events[*]" };
            Err(option
                .wrong(&format!("write the way to the list whose elements are rows, as in '{example}', or 'lines'")))
        }
    }
}

/// A way through fields.
///
/// # Errors
/// `Invalid` where it cannot be read, or leads through lists.
pub(crate) fn field_path(option: &GivenOption, text: &str) -> Result<FieldPath> {
    let path = Path::parse(text).map_err(|why| {
        if text.contains("[*]") {
            return option.wrong(
                "it leads through fields alone: the elements of one list are rows, by 'json.rows' = '$.events[*]', and a list in them is a \
                 column of a type as BIGINT[]",
            );
        }
        let error = Error::invalid(format!("option \"{}\" cannot be \"{}\"", option.key, option.value));
        error.detail(why).hint("write the names of fields, as in '$.match.events'").at(option.value_at.clone())
    })?;
    let names = path.steps().into_iter().map(|step| match step {
        Step::Field(name) => Ok(name.to_owned()),
        Step::Element(_) => Err(option.wrong("it leads through fields alone, as in '$.match.events'")),
    });
    names.collect::<Result<_>>().map(FieldPath)
}

/// # Errors
/// `Invalid` for what is no format.
pub(crate) fn timestamp_format(option: &GivenOption) -> Result<TimestampFormat> {
    let known = TimestampFormat::DECLARED.into_iter().find(|format| format.name() == Some(option.value.as_str()));
    known.ok_or_else(|| {
        let names: Vec<&str> = TimestampFormat::DECLARED.into_iter().filter_map(TimestampFormat::name).collect();
        let near = nearest(&option.value, &names).map_or(String::new(), |near| format!("; did you mean '{near}'?"));
        option.wrong(&format!("known are {}{near}", names.join(", ")))
    })
}

fn unknown_format(option: &GivenOption) -> Error {
    Error::invalid(format!("format \"{}\" is not known", option.value))
        .hint("known are 'json', and for files 'csv' and 'parquet'")
        .at(option.value_at.clone())
}

pub(crate) fn view_options(mut given: Options, errors: &mut Vec<Error>) -> ViewOptions {
    let options = ViewOptions {
        primary_key: read(given.take("primary-key"), Vec::new(), errors, GivenOption::list),
        time_column: read(given.take(TIME_COLUMN), None, errors, |option| match option.value.trim() {
            "" => Err(option.wrong("it names a column, as in 'window_end'")),
            name => Ok(Some(name.to_owned())),
        }),
        allowed_lateness: read(given.take("allowed-lateness"), Duration::ZERO, errors, GivenOption::duration),
        postgres: read(given.take("postgres"), None, errors, |option| match option.value.as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(option.wrong("it is 'true' or 'false'")),
        }),
        parquet_rows: read(given.take(PARQUET_ROWS), ParquetRows::Final, errors, |option| {
            let declared = ParquetRows::DECLARED.into_iter().find(|(name, _)| *name == option.value);
            declared.map(|(_, rows)| rows).ok_or_else(|| {
                option.wrong("it is 'final', or 'changes' for files of the rows that may change again, too")
            })
        }),
        session_max_length: read(given.take(SESSION_MAX_LENGTH), None, errors, |option| {
            option.duration_above_zero("leave it out for sessions as long as rows come").map(Some)
        }),
        state_ttl: read(given.take(STATE_TTL), None, errors, |option| {
            option.duration_above_zero("leave it out to keep one row of each key").map(Some)
        }),
        on_change: read(given.take(ON_CHANGE), None, errors, |option| {
            let declared = OnChange::DECLARED.into_iter().find(|(name, _)| *name == option.value);
            declared.map(|(_, on_change)| Some(on_change)).ok_or_else(|| {
                option.wrong("it is 'ask', for the version before to run on until you answer, or 'new-version'")
            })
        }),
    };
    given.refuse_rest(VIEW, &[], errors);
    options
}

#[cfg(test)]
mod tests;
