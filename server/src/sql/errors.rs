//! Whatever planning says → one error with file:line:column and a hint.
//!
//! DataFusion attaches places to some of its errors (unknown column, table, function; types that do not fit). Where it
//! does not, the place is the statement's, or the call's that `call` has found.

use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::common::{Diagnostic, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{Expr, Spanned};
use datafusion::sql::sqlparser::tokenizer::Span as SqlSpan;

use super::call::in_sql;
use super::options::format_of;
use crate::error::{Error, Location};

/// Names listed in a hint.
const NAMES_MAX: usize = 10;
/// DataFusion's diagnostic for operands that do not go together.
const INCOMPATIBLE: &str = "expressions have incompatible types";

/// The error of a statement in `file`. `statement_start`: its place, for errors that do not say theirs.
///
/// Works best with `sql_parser.collect_spans`, as `sql::session_config` sets it, and a query whose tokens were counted
/// from the file's start, as `sql::parse_file` does.
pub fn planning_error(error: DataFusionError, file: &str, statement_start: &Location) -> Error {
    let place = error.diagnostic().and_then(|diagnostic| diagnostic.span).map(|span| Location {
        file: file.to_owned(),
        line: span.start.line,
        column: span.start.column,
    });
    let place = place.filter(|place| place.line > 0).unwrap_or_else(|| statement_start.clone());
    if is_ours(&error) {
        return Error::from(error).at(place);
    }
    let described = match (unknown_column(&error).or_else(|| same_name(&error)), error.diagnostic()) {
        (Some(described), _) => Some(described),
        // The diagnostic leaves out which types and which operator.
        (None, Some(diagnostic)) if diagnostic.message != INCOMPATIBLE && !without_start(&diagnostic.message) => {
            Some(from_diagnostic(diagnostic))
        }
        (None, _) => None,
    };
    match described {
        Some(described) => described.at(place),
        None => plainly(error).at(place),
    }
}

/// What could be meant by `name`, where it is like one of `names`.
pub fn nearest<'a>(name: &str, names: &'a [String]) -> Option<&'a String> {
    let similar = |other: &&String| normalized_levenshtein(&other.to_lowercase(), &name.to_lowercase());
    names.iter().max_by(|a, b| similar(a).total_cmp(&similar(b))).filter(|other| similar(other) >= 0.5)
}

/// All errors as one text, by file, line and column, with an empty line between.
pub fn report(errors: &[Error]) -> String {
    let mut sorted: Vec<&Error> = errors.iter().collect();
    sorted.sort_by_key(|error| error.location().cloned());
    let reports: Vec<String> = sorted.into_iter().map(Error::report).collect();
    reports.join("\n\n")
}

pub(super) fn is_ours(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::External(inner) if inner.is::<Error>())
}

/// A planning error of our own with the place of what is wrong.
pub(crate) fn at_expr(message: impl Into<String>, hint: impl Into<String>, expr: &Expr) -> DataFusionError {
    at_span(message, hint, expr.span())
}

/// As [`at_expr`], for what is not an expression.
pub(crate) fn at_span(message: impl Into<String>, hint: impl Into<String>, span: SqlSpan) -> DataFusionError {
    let message = message.into();
    let span = datafusion::common::Span::try_from_sqlparser_span(span);
    let diagnostic = Diagnostic::new_error(message.clone(), span).with_help(hint, None);
    DataFusionError::Plan(message).with_diagnostic(diagnostic)
}

fn from_diagnostic(diagnostic: &Diagnostic) -> Error {
    let mut error = Error::invalid(lower_first(&diagnostic.message));
    if let Some(note) = diagnostic.notes.first() {
        error = match note.message.strip_prefix("Possible function ") {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.detail(lower_first(&note.message)),
        };
    }
    if let Some(help) = diagnostic.helps.first().filter(|help| !help.message.is_empty()) {
        error = error.hint(lower_first(&help.message));
    }
    error
}

/// DataFusion 55 tells the columns of an aggregation apart by their names.
fn same_name(error: &DataFusionError) -> Option<Error> {
    let DataFusionError::SchemaError(schema_error, _) = error.find_root() else { return None };
    let SchemaError::DuplicateUnqualifiedField { name } = schema_error.as_ref() else { return None };
    Some(
        Error::invalid(format!("two expressions here have the name \"{name}\""))
            .hint("a CAST has the name of what it casts: cast it in a subquery, under a name of its own"),
    )
}

/// DataFusion lists every valid field; the nearest few help more.
fn unknown_column(error: &DataFusionError) -> Option<Error> {
    let DataFusionError::SchemaError(schema_error, _) = error.find_root() else { return None };
    let SchemaError::FieldNotFound { field, valid_fields } = schema_error.as_ref() else { return None };
    let mut near: Vec<(f64, String)> = valid_fields
        .iter()
        .map(|valid| {
            (normalized_levenshtein(&field.name.to_lowercase(), &valid.name.to_lowercase()), valid.name.clone())
        })
        .filter(|(similar, _)| *similar >= 0.5)
        .collect();
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let described = Error::invalid(format!("column \"{}\" does not exist", field.flat_name()));
    Some(match near.first() {
        Some((_, name)) => described.hint(format!("did you mean \"{name}\"?")),
        None if valid_fields.is_empty() => described,
        None => {
            let mut names: Vec<&str> = valid_fields.iter().map(|field| field.name.as_str()).take(NAMES_MAX).collect();
            if valid_fields.len() > NAMES_MAX {
                names.push("…");
            }
            described.hint(format!("there are {}", names.join(", ")))
        }
    })
}

/// An error without a diagnostic, with "did you mean" as its hint, types named as in SQL, and without Rust's names.
fn plainly(error: DataFusionError) -> Error {
    let plain = Error::from(error);
    let text = plain.primary();
    if let Some((message, help)) = text.split_once("\nDid you mean") {
        return Error::new(plain.kind(), lower_first(message.trim_end_matches('.')))
            .hint(format!("did you mean{}", help.trim_end()));
    }
    if without_start(text) {
        return Error::invalid("substr needs a start").hint("write substr(str, start[, length])");
    }
    let text = ["parser error: ", "Parser error: "]
        .iter()
        .fold(text, |text, prefix| text.strip_prefix(prefix).unwrap_or(text));
    let text = if text.starts_with("Cannot ") { in_sql(text) } else { text.to_owned() };
    match lower_first(&text) {
        lowered if lowered == plain.primary() => plain,
        lowered => Error::new(plain.kind(), lowered),
    }
}

/// DataFusion shows the parser's structures here.
fn without_start(text: &str) -> bool {
    text.to_lowercase().starts_with("substring without for/from")
}

/// Lower case at the beginning, unless it is an abbreviation or a name; no full stop.
fn lower_first(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

/// What is to be said of a table that does not exist and whose name is that of a file.
pub fn not_read_by_name(missing: &str) -> Option<Error> {
    (format_of(missing).is_some() || missing.contains('/')).then(|| {
        Error::invalid(format!("a server reads no file by its name, as '{missing}'"))
            .hint("declare it in schemas/ with CREATE TABLE, which `touchline infer FILE` writes, or ask it with `touchline run`")
    })
}

#[cfg(test)]
mod tests;
