//! A function call with the wrong arguments → where it stands, what it was given, and how the function is called.
//!
//! DataFusion names the function and the types but no place, and lists every type that a signature stands for. The place
//! is found by planning again without one call after the other: the error goes with the call that causes it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{AggregateUDF, LogicalPlan, ScalarUDF};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArguments, ObjectNamePart, Spanned, Statement, Value, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::errors::{is_ours, nearest, planning_error};
use super::peers;
use crate::error::{Error, Location};

/// What DataFusion says of every call that fits no signature.
const NO_MATCH: &str = "No function matches the given name and argument types '";
/// Calls that are tried as the wrong one; each costs a planning.
const SUSPECTS_MAX: usize = 16;
/// Signatures in a message.
const SIGNATURES_MAX: usize = 4;
/// Arguments that a signature is written out with. The text may quote a user's, who can write any number there.
const NUMBERS_MAX: usize = 16;

/// The error of planning or analyzing `statement`, with its place in the file of `start`; `start` itself where none is known.
pub async fn explained(
    error: DataFusionError,
    statement: &DfStatement,
    state: &SessionState,
    start: &Location,
) -> Error {
    let text = error.strip_backtrace();
    let (wrong, ours) = (WrongCall::read(&text), is_ours(&error));
    let placed = suggesting(planning_error(error, &start.file, start), state);
    if placed.location() != Some(start) && wrong.is_none() {
        return placed;
    }
    let named = |function: &str, arguments: usize| match &wrong {
        Some(wrong) => wrong.function == function && wrong.given.len() == arguments,
        None => {
            WINDOWS.contains(&function) && (ours || text.contains("window"))
                || text.contains(&format!("{function} takes ("))
                || text.contains(&format!("{function}: "))
                || text.contains(&format!(": {function}("))
                || text.contains(&format!("function \"{function}\" "))
        }
    };
    let place = locate(&text, statement, state, &named).await.map(|span| Location {
        file: start.file.clone(),
        line: span.start.line,
        column: span.start.column,
    });
    let described = match wrong {
        Some(wrong) => wrong.described(state),
        None => placed.moved_from(start),
    };
    described.at(place.unwrap_or_else(|| start.clone()))
}

/// The error of planning an expression that stands outside of a query. `place`: its own, for errors that do not say theirs.
pub(super) fn explained_alone(error: DataFusionError, state: &SessionState, place: &Location) -> Error {
    let wrong = WrongCall::read(&error.strip_backtrace());
    let placed = suggesting(planning_error(error, &place.file, place), state);
    match wrong {
        Some(wrong) => wrong.described(state).at(placed.location().unwrap_or(place).clone()),
        None => placed,
    }
}

/// The error of an unknown function with the nearest of all names. DataFusion suggests one, too, but of several that are as
/// near it takes another one each time.
fn suggesting(error: Error, state: &SessionState) -> Error {
    let unknown = error.primary().strip_prefix("invalid function '").and_then(|rest| rest.strip_suffix('\''));
    let Some(unknown) = unknown else { return error };
    // In order, so that the answer is always the same.
    let names: BTreeSet<&String> = state
        .scalar_functions()
        .keys()
        .chain(state.aggregate_functions().keys())
        .chain(state.window_functions().keys())
        .collect();
    let names: Vec<String> = names.into_iter().cloned().collect();
    let mut described = Error::new(error.kind(), error.primary());
    if let Some(hint) = peers::function_hint(unknown) {
        described = described.hint(hint);
    } else if let Some(name) = nearest(unknown, &names) {
        described = described.hint(format!("did you mean '{name}'?"));
    }
    match error.location() {
        Some(place) => described.at(place.clone()),
        None => described,
    }
}

/// Their own errors come without a place, too.
const WINDOWS: [&str; 4] = ["tumble", "hop", "cumulate", "session"];

/// A call that fits no signature of its function.
#[derive(Debug, PartialEq, Eq)]
struct WrongCall {
    function: String,
    /// The types of its arguments, in SQL.
    given: Vec<String>,
    /// What would fit, in SQL; empty where only the function's code knows.
    signatures: Vec<String>,
    /// The function's own words, where it checks its arguments itself.
    why: Option<String>,
}

impl WrongCall {
    fn read(text: &str) -> Option<Self> {
        let (before, rest) = text.split_once(NO_MATCH)?;
        let (call, candidates) = rest.split_once("'. You might need").unwrap_or((rest, ""));
        let (function, arguments) = call.trim_end_matches('\'').strip_suffix(')')?.split_once('(')?;
        let mut signatures = Vec::new();
        for candidate in candidates.lines().skip(1).map(str::trim).filter(|line| line.ends_with(')')) {
            let candidate = in_sql(candidate);
            if !candidate.contains("UserDefined") && !signatures.contains(&candidate) {
                signatures.push(candidate);
            }
        }
        let why = before.split_once("user-defined coercion failed with: ").map(|(_, why)| {
            let why = ["Error during planning: ", "Execution error: "]
                .iter()
                .fold(why, |why, prefix| why.strip_prefix(prefix).unwrap_or(why));
            why.trim().trim_end_matches('.').to_owned()
        });
        Some(WrongCall {
            function: function.to_owned(),
            given: split_arguments(arguments).into_iter().map(in_sql).collect(),
            signatures,
            why,
        })
    }

    fn described(self, state: &SessionState) -> Error {
        let mut error = Error::invalid(match self.given.as_slice() {
            [] => format!("{} cannot be called without arguments", self.function),
            given => format!("{} cannot be called with ({})", self.function, given.join(", ")),
        });
        let mut shown = self.signatures.iter().take(SIGNATURES_MAX).cloned().collect::<Vec<_>>().join(", ");
        if self.signatures.len() > SIGNATURES_MAX {
            shown.push_str(", …");
        }
        let syntax = syntax(&self.function, state);
        error = match (self.why, &syntax) {
            (Some(why), _) => error.detail(why),
            (None, Some(_)) if !shown.is_empty() => error.detail(format!("it takes {shown}")),
            (None, _) => error,
        };
        match syntax {
            Some(syntax) => error.hint(format!("write {syntax}")),
            None if shown.is_empty() => error,
            None => error.hint(format!("write {shown}")),
        }
    }
}

/// How the function's manual writes a call.
fn syntax(function: &str, state: &SessionState) -> Option<String> {
    let scalar = state.scalar_functions().get(function).and_then(|function| function.documentation());
    let manual = scalar.or_else(|| state.aggregate_functions().get(function)?.documentation())?;
    manual.syntax_example.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// `a, b(c, d)` as two.
fn split_arguments(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0_usize, 0);
    for (at, char) in text.char_indices() {
        match char {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[from..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// Arrow's names of types as those of SQL; what is no type stays.
pub(super) fn in_sql(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|char: char| char.is_ascii_alphabetic()) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let word_end = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(rest.len());
        let (word, after) = rest.split_at(word_end);
        let inner = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let (name, taken) = match (word, inner) {
            ("Utf8" | "Utf8View" | "LargeUtf8" | "String", _) => ("VARCHAR".to_owned(), 0),
            ("Boolean", _) => ("BOOLEAN".to_owned(), 0),
            ("Int8", _) => ("TINYINT".to_owned(), 0),
            ("Int16", _) => ("SMALLINT".to_owned(), 0),
            ("Int32", _) => ("INT".to_owned(), 0),
            ("Int64", _) => ("BIGINT".to_owned(), 0),
            ("UInt8", _) => ("TINYINT UNSIGNED".to_owned(), 0),
            ("UInt16", _) => ("SMALLINT UNSIGNED".to_owned(), 0),
            ("UInt32", _) => ("INT UNSIGNED".to_owned(), 0),
            ("UInt64", _) => ("BIGINT UNSIGNED".to_owned(), 0),
            ("Float32", _) => ("REAL".to_owned(), 0),
            ("Float64", _) => ("DOUBLE".to_owned(), 0),
            ("Date32" | "Date64", _) => ("DATE".to_owned(), 0),
            ("Binary" | "BinaryView" | "LargeBinary", _) => ("BYTEA".to_owned(), 0),
            ("Null", _) => ("NULL".to_owned(), 0),
            ("Interval", Some((unit, _))) => ("INTERVAL".to_owned(), unit.len() + 2),
            ("Interval", None) => ("INTERVAL".to_owned(), 0),
            ("Numeric", Some((count, _))) => {
                (vec!["number"; count.parse::<usize>().unwrap_or(1).min(NUMBERS_MAX)].join(", "), count.len() + 2)
            }
            ("Decimal128" | "Decimal256" | "Decimal64" | "Decimal32", Some((size, _))) => {
                (format!("DECIMAL({size})"), size.len() + 2)
            }
            ("Timestamp", Some((inner, _))) => {
                let digits = match inner.split(',').next().unwrap_or_default().trim() {
                    "s" => 0,
                    "ms" => 3,
                    "ns" => 9,
                    _ => 6,
                };
                let zone = if inner.contains(',') { " WITH TIME ZONE" } else { "" };
                (format!("TIMESTAMP({digits}){zone}"), inner.len() + 2)
            }
            (word, _) => (word.to_owned(), 0),
        };
        out.push_str(&name);
        rest = &after[taken..];
    }
    out.push_str(rest);
    out
}

/// The place of the call that causes an error with this text: of those that are `named`, the one without which it is another.
async fn locate(
    text: &str,
    statement: &DfStatement,
    state: &SessionState,
    named: &(dyn Fn(&str, usize) -> bool + Send + Sync),
) -> Option<Span> {
    let statement = plain(statement)?;
    let mut calls = Calls { state, named, found: Vec::new() };
    let _ = Visit::visit(statement, &mut calls);
    let suspects = calls.found;
    if suspects.len() < 2 {
        return suspects.first().copied();
    }
    let mut statement = statement.clone();
    for suspect in suspects.iter().take(SUSPECTS_MAX) {
        let _ = VisitMut::visit(&mut statement, &mut Without { call: *suspect });
        let again = DfStatement::Statement(Box::new(statement.clone()));
        match analyzed(state, again).await {
            Err(error) if error.strip_backtrace() == text => {}
            _ => return Some(*suspect),
        }
    }
    None
}

/// A statement as far as its types are known.
async fn analyzed(state: &SessionState, statement: DfStatement) -> Result<LogicalPlan> {
    let plan = state.statement_to_plan(statement).await?;
    state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})
}

fn plain(mut statement: &DfStatement) -> Option<&Statement> {
    while let DfStatement::Explain(explain) = statement {
        statement = &explain.statement;
    }
    match statement {
        DfStatement::Statement(statement) => Some(statement),
        _ => None,
    }
}

/// Finds calls, inner ones before those around them.
struct Calls<'a> {
    state: &'a SessionState,
    named: &'a (dyn Fn(&str, usize) -> bool + Send + Sync),
    found: Vec<Span>,
}

impl Visitor for Calls<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Some((name, arguments)) = call(expr)
            && expr.span() != Span::empty()
            && (self.named)(&canonical(self.state, &name), arguments)
        {
            self.found.push(expr.span());
        }
        ControlFlow::Continue(())
    }
}

struct Without {
    call: Span,
}

impl VisitorMut for Without {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if call(expr).is_some() && expr.span() == self.call {
            *expr = Expr::Value(Value::Null.into());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// Name and number of arguments of a call, also of one that has a syntax of its own.
fn call(expr: &Expr) -> Option<(String, usize)> {
    match expr {
        Expr::Function(function) => {
            let Some(ObjectNamePart::Identifier(name)) = function.name.0.last() else { return None };
            let arguments = match &function.args {
                FunctionArguments::List(list) => list.args.len(),
                FunctionArguments::Subquery(_) => 1,
                FunctionArguments::None => 0,
            };
            // As in percentile_cont(0.5) WITHIN GROUP (ORDER BY x).
            Some((name.value.to_lowercase(), arguments + function.within_group.len()))
        }
        Expr::Substring { substring_from, substring_for, .. } => {
            let given = usize::from(substring_from.is_some()) + usize::from(substring_for.is_some());
            Some(("substr".to_owned(), 1 + given))
        }
        Expr::Extract { .. } => Some(("date_part".to_owned(), 2)),
        Expr::Ceil { .. } => Some(("ceil".to_owned(), 1)),
        Expr::Floor { .. } => Some(("floor".to_owned(), 1)),
        Expr::Position { .. } => Some(("strpos".to_owned(), 2)),
        _ => None,
    }
}

/// A function may be called by another name than errors give it.
fn canonical(state: &SessionState, name: &str) -> String {
    let scalar = state.scalar_functions().get(name).map(|function| ScalarUDF::name(function).to_owned());
    let aggregate = || state.aggregate_functions().get(name).map(|function| AggregateUDF::name(function).to_owned());
    scalar.or_else(aggregate).unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_as_in_sql() {
        for (arrow, sql) in [
            ("lpad(Utf8View, Int64, LargeUtf8)", "lpad(VARCHAR, BIGINT, VARCHAR)"),
            ("f(Timestamp(ms), Interval(MonthDayNano))", "f(TIMESTAMP(3), INTERVAL)"),
            ("f(Timestamp(µs, \"+00:00\"))", "f(TIMESTAMP(6) WITH TIME ZONE)"),
            ("abs(Numeric(1))", "abs(number)"),
            ("Decimal128(12, 2)", "DECIMAL(12, 2)"),
            ("List(Int32)", "List(INT)"),
            ("date_trunc(precision: String, Any)", "date_trunc(precision: VARCHAR, Any)"),
        ] {
            assert_eq!(in_sql(arrow), sql);
        }
    }

    #[test]
    fn a_number_that_a_user_has_written_is_no_number_of_arguments() {
        for count in ["99999999999", "18446744073709551615", "18446744073709551616", "-1", ""] {
            let text = in_sql(&format!("Cannot cast string 'Numeric({count})' to value of Int64 type"));
            assert!(text.len() < 300, "{count}: {} bytes", text.len());
        }
    }

    #[test]
    fn a_call_is_read_with_its_arguments_signatures_and_reason() {
        let text = "Error during planning: Execution error: Function 'f' user-defined coercion failed with: \
            Error during planning: two are needed. No function matches the given name and argument types \
            'f(Decimal128(3, 1), Utf8)'. You might need to add explicit type casts.\n\tCandidate functions:\n\tf(UserDefined)";
        let given = ["DECIMAL(3, 1)".to_owned(), "VARCHAR".to_owned()].to_vec();
        let why = Some("two are needed".to_owned());
        assert_eq!(
            WrongCall::read(text),
            Some(WrongCall { function: "f".to_owned(), given, signatures: Vec::new(), why })
        );
        assert_eq!(WrongCall::read("table 'f' not found"), None);
        assert_eq!(WrongCall::read("No function matches the given name and argument types '"), None);
    }
}
