//! What peers write in other words: read as what we call it, before anything is planned.
//!
//! | written | read as |
//! | --- | --- |
//! | `TIMESTAMP(3) WITH LOCAL TIME ZONE` | `TIMESTAMP(3) WITH TIME ZONE` |
//! | `ROW<a INT, …>` of a column | `STRUCT<a INT, …>` |
//! | `INTERVAL '1:30' MINUTE TO SECOND` | `INTERVAL '1 minutes 30 seconds'` |
//! | `IF(condition, a, b)` | `CASE WHEN condition THEN a ELSE b END` |
//! | `TUMBLE_START(ts, size)`, `SESSION_END(ts, gap)` and their like | `tumble(ts, size)['start']`, `session(ts, gap)['end']` |
//!
//! Text that has a meaning of its own keeps it: nothing that was read before is read otherwise.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Spanned, Subscript, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::dialect::is_word;
use super::interval;
use super::parser::StatementParser;
use super::window_functions::WindowFunction;
use crate::error::{Error, Location, Result};

/// Rewrites the tokens of a statement.
pub(super) fn respell_tokens(tokens: &mut Vec<TokenWithSpan>) {
    let says = |token: Option<&TokenWithSpan>, word: &str| token.is_some_and(|token| is_word(&token.token, word));
    let mut at = 0;
    while at + 3 < tokens.len() {
        let zone = ["WITH", "LOCAL", "TIME", "ZONE"];
        if zone.iter().enumerate().all(|(nth, word)| says(tokens.get(at + nth), word)) {
            tokens.remove(at + 1);
        }
        at += 1;
    }
    let is_definition =
        says(tokens.first(), "CREATE") && ["TABLE", "SOURCE", "FUNCTION"].iter().any(|kind| says(tokens.get(1), kind));
    if is_definition {
        let rows: Vec<usize> = (1..tokens.len()).filter(|at| is_row_type(tokens, *at)).collect();
        for at in rows {
            if let Token::Word(word) = &mut tokens[at].token {
                (word.value, word.keyword) = ("STRUCT".to_owned(), Keyword::STRUCT);
            }
        }
    }
}

/// Whether `ROW` stands there as a type: behind a name or in another type, and before `<name type`.
fn is_row_type(tokens: &[TokenWithSpan], at: usize) -> bool {
    // A column may be called so, and be compared in an expression.
    const OPERATORS: [&str; 13] =
        ["AS", "AND", "OR", "NOT", "WHEN", "THEN", "ELSE", "CASE", "BETWEEN", "IN", "LIKE", "IS", "RETURN"];
    let token = |at: usize| tokens.get(at).map(|token| &token.token);
    let is_operator = |token: &Token| OPERATORS.iter().any(|operator| is_word(token, operator));
    let name =
        |token: Option<&Token>| token.is_some_and(|token| matches!(token, Token::Word(_)) && !is_operator(token));
    let before = match token(at - 1) {
        Some(Token::Lt) => at > 1 && token(at - 2).is_some_and(|of| is_word(of, "ARRAY")),
        // MAP<VARCHAR, ROW<…>>
        Some(Token::Comma) => {
            at > 3 && token(at - 3) == Some(&Token::Lt) && token(at - 4).is_some_and(|of| is_word(of, "MAP"))
        }
        before => name(before),
    };
    before
        && token(at).is_some_and(|row| is_word(row, "ROW"))
        && token(at + 1) == Some(&Token::Lt)
        && name(token(at + 2))
        && name(token(at + 3))
}

impl StatementParser<'_> {
    /// Reads peers' spellings in an expression or a query as ours.
    pub(super) fn respell(&self, node: &mut impl VisitMut) -> Result<()> {
        respell(node).map_err(|(error, span)| error.at(self.place(span, &self.location())))
    }
}

/// [`StatementParser::respell`] for a statement that stands in no file.
///
/// # Errors
/// `Invalid` for what is like a spelling of a peer and means nothing.
pub(crate) fn respell_alone(node: &mut impl VisitMut) -> Result<()> {
    respell(node).map_err(|(error, span)| {
        error.at(Location { file: String::new(), line: span.start.line, column: span.start.column })
    })
}

fn respell(node: &mut impl VisitMut) -> Result<(), (Error, Span)> {
    match node.visit(&mut Respell) {
        ControlFlow::Break(refused) => Err(*refused),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Respell;

impl VisitorMut for Respell {
    type Break = Box<(Error, Span)>;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        // Of an expression as a whole the place is found by going through all of it: here only of what can be refused.
        let (span, outcome) = match expr {
            Expr::Interval(interval) => (interval.value.span(), in_one_text(expr)),
            Expr::Function(function) => {
                let (span, outcome) = (function.name.span(), refuse_java_format(function));
                if let Some(instead) = bound_of_window(function).or_else(|| choice(function)) {
                    *expr = instead;
                }
                (span, outcome)
            }
            _ => return ControlFlow::Continue(()),
        };
        match outcome {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new((error, span))),
        }
    }
}

fn in_one_text(expr: &mut Expr) -> Result<()> {
    let Expr::Interval(interval) = expr else { return Ok(()) };
    let Some(words) = interval::in_words(interval) else { return Ok(()) };
    let words = words.map_err(|why| Error::invalid(format!("an interval {why}")))?;
    // The value keeps its place.
    let value = Value::SingleQuotedString(words).with_span(interval.value.span());
    *interval.value = Expr::Value(value);
    (interval.leading_field, interval.last_field, interval.fractional_seconds_precision) = (None, None, None);
    interval.leading_precision = None;
    Ok(())
}

/// `TUMBLE_START(…)` and its like, of Flink before it had windows in FROM.
fn bound_of_window(function: &Function) -> Option<Expr> {
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
    let (window, part) = name.value.rsplit_once('_')?;
    let window = WindowFunction::named(window)?;
    let part = ["start", "end"].into_iter().find(|known| part.eq_ignore_ascii_case(known))?;
    let name = Ident { value: window.call_name().to_owned(), quote_style: None, span: name.span };
    let call = Function { name: ObjectName(vec![ObjectNamePart::Identifier(name)]), ..function.clone() };
    let index = Expr::Value(Value::SingleQuotedString(part.to_owned()).with_empty_span());
    Some(Expr::CompoundFieldAccess {
        root: Box::new(Expr::Function(call)),
        access_chain: vec![AccessExpr::Subscript(Subscript::Index { index })],
    })
}

/// `IF(condition, a, b)`, and `IF(condition, a)`, of MySQL, Flink and Spark.
fn choice(function: &Function) -> Option<Expr> {
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    let is_plain = name.quote_style.is_none()
        && name.value.eq_ignore_ascii_case("if")
        && list.clauses.is_empty()
        && list.duplicate_treatment.is_none()
        && function.over.is_none()
        && function.filter.is_none();
    if !is_plain {
        return None;
    }
    let argument = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    let arguments: Vec<Expr> = list.args.iter().map(argument).collect::<Option<_>>()?;
    let (condition, result, other) = match <[Expr; 3]>::try_from(arguments) {
        Ok([condition, result, other]) => (condition, result, Some(Box::new(other))),
        Err(arguments) => match <[Expr; 2]>::try_from(arguments) {
            Ok([condition, result]) => (condition, result, None),
            Err(_) => return None,
        },
    };
    Some(Expr::Case {
        // Its place is that of the name, for errors.
        case_token: AttachedToken(TokenWithSpan::new(Token::EOF, name.span)),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: other,
    })
}

/// Formats are those of `strftime`; one of Java's would suit no text.
fn refuse_java_format(function: &Function) -> Result<()> {
    let name = function.name.to_string().to_lowercase();
    let FunctionArguments::List(list) = &function.args else { return Ok(()) };
    let formats = list.args.iter().skip(1).filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    });
    let is_java = |format: &&String| !format.contains('%') && (format.contains("yy") || format.contains("HH"));
    let takes_formats =
        name.starts_with("to_timestamp") || matches!(name.as_str(), "to_date" | "to_char" | "date_format");
    match formats.filter(|_| takes_formats).find(is_java) {
        Some(format) => Err(Error::invalid(format!("'{format}' is no format here: each part begins with %"))
            .hint("write '%Y-%m-%d %H:%M:%S' for 'yyyy-MM-dd HH:mm:ss'")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
