//! Whatever planning says → one error with file:line:column and a hint.
//!
//! DataFusion attaches places to some of its errors (unknown column, table, function; types that do not fit). Where it
//! does not, the place is the statement's.

use std::ops::ControlFlow;

use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::common::{Diagnostic, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{Expr, Function, ObjectNamePart, Query, Spanned, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::Span as SqlSpan;

use super::parser::normalize;
use crate::catalog::ViewDef;
use crate::error::{Error, ErrorKind, Location};

/// Comes before what a function says of its arguments.
const OWN_WORDS: &str = "user-defined coercion failed with: ";
/// Names listed in a hint.
const NAMES_MAX: usize = 10;

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
    let described = match (unknown_column(&error), error.diagnostic()) {
        (Some(described), _) => Some(described),
        (None, Some(diagnostic)) => Some(from_diagnostic(diagnostic)),
        (None, None) => None,
    };
    match described {
        Some(described) => described.at(place),
        None => without_candidates(error).at(place),
    }
}

/// As [`planning_error`], for a view's query: an error that speaks of a function stands at its call.
pub fn query_error(error: DataFusionError, view: &ViewDef) -> Error {
    let file = &view.location.file;
    let call = call_place(&error.strip_backtrace(), &view.query, file);
    planning_error(error, file, &call.unwrap_or_else(|| view.location.clone()))
}

/// The place of the one call that an error speaks of; `None` where it speaks of none, or there are several.
fn call_place(error: &str, query: &Query, file: &str) -> Option<Location> {
    struct Calls<'a> {
        error: &'a str,
        found: Vec<SqlSpan>,
    }
    impl Visitor for Calls<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(Function { name, .. }) = expr
                && let [ObjectNamePart::Identifier(ident)] = name.0.as_slice()
            {
                let name = normalize(ident);
                let spoken_of = [
                    format!("{name} takes ("),
                    format!("{name}: "),
                    format!(": {name}("),
                    format!("'{name}("),
                    format!("function \"{name}\" "),
                ];
                if spoken_of.iter().any(|form| self.error.contains(form)) {
                    self.found.push(ident.span);
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut calls = Calls { error, found: Vec::new() };
    let _ = query.visit(&mut calls);
    match calls.found.as_slice() {
        [span] if span.start.line > 0 => {
            Some(Location { file: file.to_owned(), line: span.start.line, column: span.start.column })
        }
        _ => None,
    }
}

/// All errors as one text, by file, line and column, with an empty line between.
pub fn report(errors: &[Error]) -> String {
    let mut sorted: Vec<&Error> = errors.iter().collect();
    sorted.sort_by_key(|error| error.location().cloned());
    let reports: Vec<String> = sorted.into_iter().map(Error::report).collect();
    reports.join("\n\n")
}

fn is_ours(error: &DataFusionError) -> bool {
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

/// Takes a function's "Candidate functions" and "did you mean" out of the text, into detail and hint.
fn without_candidates(error: DataFusionError) -> Error {
    let plain = Error::from(error);
    let text = plain.primary();
    if let Some((message, candidates)) = text.split_once("Candidate functions:") {
        let message = message.trim().trim_end_matches(['.', ',']).lines().next().unwrap_or_default();
        let candidates: Vec<&str> = candidates.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let message = message.strip_suffix(" You might need to add explicit type casts").unwrap_or(message);
        // What goes before speaks of coercion, or is what the function itself has to say.
        let message = match message.split_once("No function matches") {
            Some((own, _)) if own.contains(OWN_WORDS) => {
                let own = own.rsplit_once(OWN_WORDS).map_or(own, |(_, own)| own).trim().trim_end_matches('.');
                let own = ["Error during planning: ", "Execution error: "]
                    .iter()
                    .find_map(|kind| own.strip_prefix(kind))
                    .unwrap_or(own);
                return Error::new(ErrorKind::Invalid, lower_first(own));
            }
            Some((_, rest)) => format!("no function matches{rest}"),
            None => message.to_owned(),
        };
        return Error::new(plain.kind(), lower_first(message.trim_end_matches('.')))
            .hint(format!("possible are {}", candidates.join("; ")));
    }
    if let Some((message, help)) = text.split_once("\nDid you mean") {
        return Error::new(plain.kind(), lower_first(message.trim_end_matches('.')))
            .hint(format!("did you mean{}", help.trim_end()));
    }
    match lower_first(text) {
        lowered if lowered == text => plain,
        lowered => Error::new(plain.kind(), lowered),
    }
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

#[cfg(test)]
mod tests;
