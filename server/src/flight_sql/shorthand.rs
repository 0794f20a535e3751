//! Statements that clients send and the engine does not know: what stands for another query, and what a session says at
//! its start.
//!
//! `SHOW SCHEMAS`, `TABLE t` and the like are read as the query they stand for. BEGIN and COMMIT are accepted for what
//! they are here: each statement reads one committed checkpoint, and nothing is written, so there is nothing to do.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{Error, Result};
use crate::sql::SourceText;
use crate::sql::dialect::StreamDialect;
use crate::tables::catalog::{CATALOG, PUBLIC_SCHEMA, SYSTEM_SCHEMA};

/// The longest of these has fewer; more is a query.
const TOKENS_MAX: usize = 24;

/// What is run in a statement's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instead {
    pub(super) sql: String,
    /// Where the session's names without a schema are looked up from now on.
    pub(super) schema: Option<&'static str>,
}

impl Instead {
    fn query(sql: impl Into<String>) -> Option<Self> {
        Some(Instead { sql: sql.into(), schema: None })
    }

    /// One row that says what was accepted: clients take it for a result, and none for a mistake.
    fn accepted(what: &str) -> Option<Self> {
        Self::query(format!("SELECT '{what}' AS status"))
    }
}

/// `None` for a statement that is what it is.
///
/// # Errors
/// `Invalid` for one that asks for what there is not, as a transaction that writes.
pub(super) fn instead(sql: &str) -> Result<Option<Instead>> {
    let source = SourceText::new("", sql)?;
    let (mut tokens, mistake) = source.tokens(&StreamDialect::default());
    while tokens.last().is_some_and(|token| token.token == Token::SemiColon) {
        tokens.pop();
    }
    if mistake.is_some() || tokens.len() > TOKENS_MAX {
        return Ok(None);
    }
    let words: Vec<String> = tokens.iter().map(word).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let schemata = format!("information_schema.schemata WHERE catalog_name = '{CATALOG}'");
    Ok(match words.as_slice() {
        ["SHOW", "SCHEMAS", ..] => shown(&format!("SELECT schema_name FROM {schemata}"), "schema_name", &tokens[2..]),
        ["SHOW", "DATABASES" | "CATALOGS", ..] => {
            let databases = format!("SELECT DISTINCT catalog_name AS database_name FROM {schemata}");
            shown(&databases, "database_name", &tokens[2..])
        }
        ["SHOW", "VIEWS", ..] => {
            let views = "SELECT table_schema, table_name FROM information_schema.tables \
                         WHERE table_type = 'VIEW' AND table_schema <> 'information_schema'";
            shown(views, "table_name", &tokens[2..])
        }
        ["SHOW", "TRANSACTION", "ISOLATION", "LEVEL"] | ["SHOW", "TRANSACTION_ISOLATION"] => {
            Instead::query("SELECT 'read committed' AS transaction_isolation")
        }
        ["SHOW", "SEARCH_PATH"] => Instead::query("SELECT current_schema() AS search_path"),
        ["TABLE", _, ..] if is_name(&tokens[1..]) => {
            let (first, last) = (tokens[1].span.start, tokens[tokens.len() - 1].span.end);
            Instead::query(format!("SELECT * FROM {}", source.slice(first, last)))
        }
        ["BEGIN", modes @ ..] | ["START", "TRANSACTION", modes @ ..] => transaction(modes)?,
        ["COMMIT" | "END", rest @ ..] if ends_plainly(rest) => Instead::accepted("COMMIT"),
        ["ROLLBACK" | "ABORT", rest @ ..] if ends_plainly(rest) => Instead::accepted("ROLLBACK"),
        ["SET", "TIME", "ZONE", _]
        | ["SET", "SESSION" | "LOCAL", "TIME", "ZONE", _]
        | ["SET", "TIMEZONE", "=" | "TO", _]
        | ["SET", "SESSION" | "LOCAL", "TIMEZONE", "=" | "TO", _] => time_zone(&tokens[tokens.len() - 1].token)?,
        ["SET", "SEARCH_PATH", "=" | "TO", _] if is_name(&tokens[3..]) => used(&names(&tokens[3..]), true)?,
        ["USE", "SCHEMA", ..] if is_name(&tokens[2..]) => used(&names(&tokens[2..]), true)?,
        ["USE", "DATABASE" | "CATALOG", ..] if is_name(&tokens[2..]) => used(&names(&tokens[2..]), false)?,
        ["USE", ..] if is_name(&tokens[1..]) => used(&names(&tokens[1..]), false)?,
        _ => None,
    })
}

/// A token to compare with: a word in capitals, unless it is quoted.
fn word(token: &TokenWithSpan) -> String {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_uppercase(),
        other => other.to_string(),
    }
}

/// The query's rows in their order, of those that are LIKE what follows, if something does.
fn shown(query: &str, name: &str, rest: &[TokenWithSpan]) -> Option<Instead> {
    let all = format!("SELECT * FROM ({query}) AS shown");
    match rest {
        [] => Instead::query(format!("{all} ORDER BY {name}")),
        [like, TokenWithSpan { token: Token::SingleQuotedString(pattern), .. }] if word(like) == "LIKE" => {
            let pattern = pattern.replace('\'', "''");
            Instead::query(format!("{all} WHERE {name} LIKE '{pattern}' ORDER BY {name}"))
        }
        _ => None,
    }
}

/// `a`, `a.b` or `a.b.c`.
fn is_name(tokens: &[TokenWithSpan]) -> bool {
    tokens.len() % 2 == 1
        && tokens.len() <= 5
        && tokens.iter().enumerate().all(|(at, token)| match &token.token {
            Token::Word(_) => at % 2 == 0,
            Token::Period => at % 2 == 1,
            _ => false,
        })
}

/// The parts of a name, as the engine reads them.
fn names(tokens: &[TokenWithSpan]) -> Vec<String> {
    let name = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_lowercase()),
        Token::Word(word) => Some(word.value.clone()),
        _ => None,
    };
    tokens.iter().filter_map(name).collect()
}

fn transaction(modes: &[&str]) -> Result<Option<Instead>> {
    let mut modes = modes.strip_prefix(&["TRANSACTION"]).or(modes.strip_prefix(&["WORK"])).unwrap_or(modes);
    loop {
        modes = match modes {
            [] => return Ok(Instead::accepted("BEGIN")),
            ["READ", "ONLY", rest @ ..]
            | ["ISOLATION", "LEVEL", "READ", "COMMITTED" | "UNCOMMITTED", rest @ ..]
            | ["NOT", "DEFERRABLE", rest @ ..]
            | ["DEFERRABLE" | ",", rest @ ..] => rest,
            ["READ", "WRITE", ..] => {
                return Err(Error::invalid("a transaction cannot write: SQL connections are read-only")
                    .hint("write BEGIN, or BEGIN READ ONLY"));
            }
            ["ISOLATION", ..] => {
                return Err(Error::invalid("each statement of a transaction reads the newest committed checkpoint")
                    .hint("leave the isolation level out, or write READ COMMITTED"));
            }
            _ => return Ok(None),
        };
    }
}

fn ends_plainly(rest: &[&str]) -> bool {
    let rest = rest.strip_prefix(&["TRANSACTION"]).or(rest.strip_prefix(&["WORK"])).unwrap_or(rest);
    matches!(rest, [] | ["AND", "NO", "CHAIN"])
}

/// Whether a time zone is the one that sessions have, or what they have anyway.
pub(super) fn is_utc(zone: &str) -> bool {
    let same = ["utc", "etc/utc", "gmt", "z", "zulu", "universal", "+00:00", "+00", "00:00", "0", "default", "local"];
    same.contains(&zone.to_lowercase().as_str())
}

fn time_zone(value: &Token) -> Result<Option<Instead>> {
    let text = match value {
        Token::SingleQuotedString(text) => text.clone(),
        Token::Word(word) => word.value.clone(),
        other => other.to_string(),
    };
    match is_utc(&text) {
        true => Ok(Instead::accepted("SET")),
        false => Err(Error::invalid(format!("the time zone of a session is UTC, and cannot be \"{text}\""))
            .hint("convert where it is shown: column AT TIME ZONE 'Europe/Berlin'")),
    }
}

/// `by_schema`: a single name is that of a schema, and not of the database.
fn used(names: &[String], by_schema: bool) -> Result<Option<Instead>> {
    let schemas = [PUBLIC_SCHEMA, SYSTEM_SCHEMA];
    let schema = match names {
        // The database and one of its schemas have one name, and who knows no better means the database.
        [database] if database == CATALOG && !by_schema => Some(PUBLIC_SCHEMA),
        [schema] => schemas.into_iter().find(|known| known == schema),
        [database, schema] if database == CATALOG => schemas.into_iter().find(|known| known == schema),
        _ => None,
    };
    match schema {
        Some(schema) => Ok(Instead::accepted("USE").map(|instead| Instead { schema: Some(schema), ..instead })),
        None => Err(Error::invalid(format!("there is no schema \"{}\"", names.join(".")))
            .hint(format!("the database {CATALOG} has the schemas {PUBLIC_SCHEMA} and {SYSTEM_SCHEMA}"))),
    }
}

/// Functions that tell who asks where.
pub(super) fn about_session(user: &str, schema: &str) -> Vec<ScalarUDF> {
    let user = if user.is_empty() { "anonymous" } else { user };
    let version = format!("Touchline {}", env!("CARGO_PKG_VERSION"));
    [
        ("version", version.as_str()),
        ("current_user", user),
        ("session_user", user),
        ("current_schema", schema),
        ("current_database", CATALOG),
        ("current_catalog", CATALOG),
    ]
    .map(|(name, value)| says(name, value))
    .into()
}

fn says(name: &str, value: &str) -> ScalarUDF {
    let value = ScalarValue::Utf8(Some(value.to_owned()));
    let answer = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(value.clone()));
    create_udf(name, Vec::new(), DataType::Utf8, Volatility::Stable, Arc::new(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(statement: &str) -> Option<String> {
        instead(statement).expect(statement).map(|instead| instead.sql)
    }

    #[test]
    fn short_forms_are_the_queries_that_they_stand_for() {
        assert_eq!(sql("table scores;").as_deref(), Some("SELECT * FROM scores"));
        assert_eq!(
            sql("TABLE touchline.\"Public\".scores").as_deref(),
            Some("SELECT * FROM touchline.\"Public\".scores")
        );
        assert!(sql("show schemas").is_some_and(|sql| sql.contains("information_schema.schemata")));
        assert!(sql("SHOW DATABASES ;").is_some_and(|sql| sql.contains("database_name")));
        let views = sql("SHOW VIEWS LIKE 'it''s%'").expect("a query");
        assert!(views.contains("WHERE table_name LIKE 'it''s%' ORDER BY table_name"), "{views}");
        for other in ["SELECT 1", "SHOW TABLES", "TABLE a b", "TABLE", "SHOW VIEWS FROM x", "TABLE (SELECT 1)", "", "'"]
        {
            assert_eq!(sql(other), None, "{other}");
        }
    }

    #[test]
    fn a_transaction_that_only_reads_is_accepted_and_another_is_not() {
        for begin in [
            "BEGIN",
            "begin transaction read only",
            "BEGIN WORK",
            "START TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY",
            "BEGIN TRANSACTION NOT DEFERRABLE",
        ] {
            assert_eq!(sql(begin).as_deref(), Some("SELECT 'BEGIN' AS status"), "{begin}");
        }
        for (end, said) in [("COMMIT", "COMMIT"), ("END TRANSACTION", "COMMIT"), ("rollback and no chain", "ROLLBACK")]
        {
            assert_eq!(sql(end), Some(format!("SELECT '{said}' AS status")), "{end}");
        }
        assert!(instead("BEGIN READ WRITE").is_err());
        assert!(instead("START TRANSACTION ISOLATION LEVEL SERIALIZABLE").is_err());
        for other in ["ROLLBACK TO SAVEPOINT a", "COMMIT AND CHAIN", "SAVEPOINT a", "BEGIN SELECT 1", "START x"] {
            assert_eq!(sql(other), None, "{other}");
        }
    }

    #[test]
    fn a_session_may_say_what_is_so_anyway() {
        for same in
            ["SET TIME ZONE 'UTC'", "set timezone to 'Etc/UTC'", "SET SESSION TIME ZONE LOCAL", "SET TimeZone = UTC"]
        {
            assert_eq!(sql(same).as_deref(), Some("SELECT 'SET' AS status"), "{same}");
        }
        let error = instead("SET TIME ZONE 'Europe/Berlin'").expect_err("times are UTC");
        assert!(error.to_string().contains("\"Europe/Berlin\""), "{error}");
        assert_eq!(sql("SET datafusion.execution.batch_size = 1"), None);
    }

    #[test]
    fn use_names_a_schema_or_the_database() {
        let schema = |statement| instead(statement).expect("it is there").expect("a USE").schema;
        assert_eq!(schema("USE public"), Some("public"));
        assert_eq!(schema("use TOUCHLINE;"), Some("public"));
        assert_eq!(schema("USE SCHEMA touchline"), Some("touchline"));
        assert_eq!(schema("USE touchline.touchline"), Some("touchline"));
        assert_eq!(schema("USE CATALOG touchline"), Some("public"));
        assert_eq!(schema("SET search_path TO touchline"), Some("touchline"));
        for none in ["USE nothing", "USE \"PUBLIC\"", "USE a.b.c", "USE touchline.x"] {
            assert!(instead(none).is_err(), "{none}");
        }
    }
}
