//! A row whose value an expression could not take → where the expression stands, and the value.
//!
//! Neither a plan nor its physical expressions know places. But errors name an operator or a type, and mostly the
//! expression, and the text says where such expressions stand: in the statement, or in a view or function that it uses.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, Expr, Function, Query, Spanned, UnaryOperator, Value, Visit, VisitMut, Visitor,
    VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::call::in_sql;
use super::result_size::{WOULD_MAKE, is_too_large};
use crate::error::{Error, Location};

/// Characters of a value in a message.
const VALUE_CHARS_MAX: usize = 100;
/// The operator, as messages show it.
pub(super) const JOINED: &str = "\"||\"";

/// A text that an expression may stand in.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// Empty for a statement that came by itself.
    pub file: &'a str,
    pub code: Code<'a>,
}

#[derive(Debug, Clone, Copy)]
pub enum Code<'a> {
    Query(&'a Query),
    /// The body of a function.
    Expr(&'a Expr),
}

/// The error with its place among `written`: that of the expression that has failed, where one can be told from all others.
///
/// `start`: the statement's place, which is a stand-in for a better one. An error of another kind stays as it is.
pub fn at_failed_value(error: Error, start: &Location, written: &[Written<'_>]) -> Error {
    let error = error.moved_from(start);
    let failure = match Failure::of(&error) {
        Some(failure) if error.location().is_none() => failure,
        _ => return error,
    };
    let mut suspects = Vec::new();
    for Written { file, code } in written {
        let mut found = Suspects { failure: &failure, found: Vec::new() };
        let _ = match code {
            Code::Query(query) => query.visit(&mut found),
            Code::Expr(expr) => expr.visit(&mut found),
        };
        suspects.extend(found.found.into_iter().map(|(span, named)| (*file, span, named)));
    }
    if suspects.iter().any(|(.., named)| *named) {
        // The same expression at several places fails at each of them; the first is one.
        suspects.retain(|(.., named)| *named);
        suspects.truncate(1);
    }
    let described = failure.described(error);
    match suspects.as_slice() {
        [(file, span, _)] => {
            described.at(Location { file: (*file).to_owned(), line: span.start.line, column: span.start.column })
        }
        _ => described,
    }
}

/// The error of a plan with the place of the call that would make too much, where that is the error; else as it is.
///
/// `start`: the place of the whole.
pub(crate) fn at_large_result(error: Error, start: &Location, code: Code<'_>) -> Error {
    if !is_too_large(&error) {
        return error;
    }
    let placed = at_failed_value(error, start, &[Written { file: &start.file, code }]);
    match placed.location() {
        Some(_) => placed,
        None => placed.at(start.clone()),
    }
}

/// What an error says of the expression.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// An operator of ours, or a sum, with its text as messages show it.
    Named(String),
    /// A cast of ours: what is cast as messages show it, and the type in SQL.
    NamedCast {
        inner: String,
        to: String,
    },
    /// A function of ours, as `repeat()`, or `"||"`.
    TooLarge(String),
    /// A division of another type than integers.
    Division,
    /// Arithmetic of another type than integers.
    Overflow(String),
    /// `to`: Arrow's name of the type.
    Cast {
        value: String,
        to: String,
    },
    Time {
        value: String,
        why: String,
    },
}

impl Failure {
    fn of(error: &Error) -> Option<Self> {
        let text = error.primary();
        if let Some(rest) = text.strip_prefix("division by zero in \"") {
            return Some(Failure::Named(rest.strip_suffix('"')?.to_owned()));
        }
        if let Some((named, _)) = text.strip_prefix('"').and_then(|rest| rest.rsplit_once("\" does not fit into ")) {
            return Some(Failure::Named(named.to_owned()));
        }
        if let Some((cast, _)) = text.strip_prefix("\"CAST(").and_then(|rest| rest.split_once(")\" cannot take '")) {
            let (inner, to) = cast.rsplit_once(" AS ")?;
            return Some(Failure::NamedCast { inner: inner.to_owned(), to: to.to_owned() });
        }
        if let Some((of, _)) = text.split_once(WOULD_MAKE)
            && (of.ends_with("()") || of == JOINED)
        {
            return Some(Failure::TooLarge(of.to_owned()));
        }
        if text.to_lowercase().contains("divide by zero") {
            return Some(Failure::Division);
        }
        if let Some((_, what)) = text.split_once("verflow happened on: ") {
            return Some(Failure::Overflow(what.to_owned()));
        }
        if let Some((_, rest)) = text.split_once("annot cast string '") {
            let (value, to) = rest.rsplit_once("' to value of ")?;
            return Some(Failure::Cast { value: format!("'{value}'"), to: to.strip_suffix(" type")?.to_owned() });
        }
        if let Some((_, rest)) = text.split_once("an't cast value ") {
            let (value, to) = rest.rsplit_once(" to type ")?;
            return Some(Failure::Cast { value: value.to_owned(), to: to.to_owned() });
        }
        let (_, rest) = text.split_once("rror parsing timestamp from '")?;
        let (value, why) = rest.rsplit_once("': ")?;
        Some(Failure::Time { value: value.to_owned(), why: why.to_owned() })
    }

    fn described(&self, error: Error) -> Error {
        match self {
            Failure::Named(_) | Failure::NamedCast { .. } | Failure::TooLarge(_) => error,
            Failure::Division => Error::invalid("division by zero")
                .hint("write nullif(…, 0) for what it is divided by, to have NULL instead"),
            Failure::Overflow(what) => {
                Error::invalid(format!("a result does not fit into its type: {what}")).hint("compute with a wider type")
            }
            Failure::Cast { value, to } => {
                Error::invalid(format!("{} is no {}", cut(value), in_sql(to))).hint("TRY_CAST gives NULL instead")
            }
            Failure::Time { value, why } => Error::invalid(format!("'{}' is no time", cut(value)))
                .detail(why.clone())
                .hint("TRY_CAST(… AS TIMESTAMP) gives NULL instead"),
        }
    }

    /// Whether it can have been this expression, and whether the error names it.
    fn suspects(&self, expr: &Expr) -> Option<bool> {
        match self {
            Failure::Named(text) => {
                let arithmetic = match expr {
                    Expr::BinaryOp { op, .. } => is_arithmetic(op),
                    Expr::UnaryOp { op: UnaryOperator::Minus, .. } => true,
                    Expr::Function(function) => name_of(function) == "sum",
                    _ => false,
                };
                if !arithmetic {
                    return None;
                }
                match bare(&plain(expr)) == bare(text) {
                    true => Some(true),
                    // Not all of it is in the message.
                    false => text.contains('…').then_some(false),
                }
            }
            Failure::NamedCast { inner, to } => match expr {
                Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type, .. } => {
                    let named = bare(&plain(expr)) == bare(inner);
                    (named && type_family(&data_type.to_string()) == type_family(to)).then_some(true)
                }
                _ => None,
            },
            Failure::TooLarge(of) => match expr {
                Expr::BinaryOp { op: BinaryOperator::StringConcat, .. } => (of == JOINED).then_some(false),
                Expr::Function(function) => is_called(&name_of(function), of.trim_end_matches("()")).then_some(false),
                _ => None,
            },
            Failure::Division => match expr {
                Expr::BinaryOp { op: BinaryOperator::Divide | BinaryOperator::Modulo, .. } => Some(false),
                _ => None,
            },
            Failure::Overflow(_) => match expr {
                Expr::BinaryOp { op, .. } if is_arithmetic(op) => Some(false),
                _ => None,
            },
            Failure::Cast { to, .. } => match expr {
                Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, data_type, .. } => {
                    (type_family(&data_type.to_string()) == type_family(&in_sql(to))).then_some(false)
                }
                _ => None,
            },
            Failure::Time { .. } => match expr {
                Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, data_type, .. } => {
                    let name = data_type.to_string().to_uppercase();
                    (name.starts_with("TIMESTAMP") || name.starts_with("DATE")).then_some(false)
                }
                Expr::Function(function) => {
                    let name = name_of(function);
                    (name.starts_with("to_timestamp") || name.starts_with("to_date")).then_some(false)
                }
                _ => None,
            },
        }
    }
}

fn is_arithmetic(operator: &BinaryOperator) -> bool {
    use BinaryOperator::{Divide, Minus, Modulo, Multiply, Plus};
    matches!(operator, Plus | Minus | Multiply | Divide | Modulo)
}

fn name_of(function: &Function) -> String {
    function.name.to_string().to_lowercase()
}

/// Whether what is written as `name` is this function, which some have other names for.
fn is_called(name: &str, function: &str) -> bool {
    name == function
        || name.strip_prefix("list_").is_some_and(|of_list| function.strip_prefix("array_") == Some(of_list))
        || (name, function) == ("date_format", "to_char")
}

/// Expressions that may have failed, inner ones before those around them.
struct Suspects<'a> {
    failure: &'a Failure,
    found: Vec<(Span, bool)>,
}

impl Visitor for Suspects<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let span = expr.span();
        if let Some(named) = self.failure.suspects(expr)
            && span.start.line > 0
        {
            self.found.push((span, named));
        }
        ControlFlow::Continue(())
    }
}

/// An expression without what messages leave out: brackets, casts and the frame of a window function.
fn plain(expr: &Expr) -> String {
    struct Inner;
    impl VisitorMut for Inner {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Nested(inner) | Expr::Cast { expr: inner, .. } = expr {
                let inner = std::mem::replace(inner.as_mut(), Expr::value(Value::Null));
                *expr = inner;
            }
            if let Expr::Function(function) = expr {
                function.over = None;
            }
            ControlFlow::Continue(())
        }
    }
    let mut expr = expr.clone();
    let _ = VisitMut::visit(&mut expr, &mut Inner);
    expr.to_string()
}

/// A text's letters, digits and signs, for comparing: without spaces, brackets, quotes, qualifiers and capitals.
fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut word = 0;
    let mut quoted = false;
    for char in text.chars() {
        match char {
            '\'' => quoted = !quoted,
            _ if quoted => out.push(char),
            '.' if out[word..].starts_with(|first: char| first.is_alphabetic() || first == '_') => out.truncate(word),
            _ if char.is_alphanumeric() || char == '_' => out.extend(char.to_lowercase()),
            _ => {
                if !char.is_whitespace() && !matches!(char, '(' | ')' | '"') {
                    out.push(char);
                }
                word = out.len();
            }
        }
    }
    out
}

/// Types that are one, under whichever of their names.
fn type_family(name: &str) -> String {
    let name = name.to_uppercase();
    let name = name.split(['(', ' ']).next().unwrap_or_default();
    match name {
        "INTEGER" | "INT4" => "INT",
        "INT8" => "BIGINT",
        "INT2" => "SMALLINT",
        "FLOAT8" | "FLOAT" => "DOUBLE",
        "FLOAT4" => "REAL",
        "NUMERIC" | "DEC" => "DECIMAL",
        "BOOL" => "BOOLEAN",
        "DATETIME" => "TIMESTAMP",
        other => other,
    }
    .to_owned()
}

fn cut(value: &str) -> String {
    match value.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests;
