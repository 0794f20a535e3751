//! `WATERMARK FOR column [AS expression]`: how far a table's watermark stays behind the newest time of its column.
//!
//! A watermark promises that no later row has an earlier time. So it must not fall when its column rises, must not be ahead of
//! it, and depends on nothing else: the expression is read as steps from the column outwards, each of them such a function.

use std::collections::HashMap;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Function, Spanned, Value};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::check::{plain_arguments, shown};
use super::computed::written_alike;
use super::ddl::{arrow_type, unknown_column};
use super::interval;
use super::parser::{StatementParser, normalize};
use crate::catalog::{Column, ColumnKind};
use crate::clock::{Micros, micros_of};
use crate::error::{Error, Location, Result};
use crate::watermark::Monotone;

/// A watermark as written.
pub(super) struct WatermarkText {
    pub(super) column: String,
    /// From the column outwards; known once all columns are.
    pub(super) steps: Vec<Monotone>,
    at: Location,
    expr: Option<(Expr, Location)>,
}

impl StatementParser<'_> {
    pub(super) fn at_watermark(&self) -> bool {
        super::dialect::is_word(&self.parser.peek_token_ref().token, "WATERMARK")
            && matches!(&self.parser.peek_nth_token_ref(1).token, Token::Word(word) if word.keyword == Keyword::FOR)
    }

    /// `WATERMARK FOR column [AS expression]`.
    pub(super) fn watermark(&mut self) -> Result<WatermarkText> {
        self.parser.advance_token();
        self.expect_keyword(Keyword::FOR)?;
        let at = self.here();
        let column = self.identifier()?;
        let mut watermark = WatermarkText { column, steps: Vec::new(), at, expr: None };
        if self.parser.parse_keyword(Keyword::AS) {
            let at = self.here();
            let expr = self.parser.parse_expr();
            let mut expr = self.parsed(expr)?;
            self.respell(&mut expr)?;
            watermark.expr = Some((expr, at));
        }
        Ok(watermark)
    }

    /// Reads the expression as steps. `computed`: what its column is computed by, which may stand in the column's place.
    pub(super) fn read_watermark(&self, watermark: &mut WatermarkText, computed: Option<&Expr>) -> Result<()> {
        let Some((expr, at)) = &watermark.expr else { return Ok(()) };
        let column = Subject { name: &watermark.column, computed };
        // A long chain of minuses is as deep as it is long.
        let (mut outer, mut steps) = (expr, Vec::new());
        while let Some((step, inner)) =
            last_step(outer, column).map_err(|Wrong(error, part)| error.at(self.place(part.span(), at)))?
        {
            steps.extend(step);
            outer = inner;
        }
        steps.reverse();
        watermark.steps = steps;
        Ok(())
    }
}

/// Adds what is wrong with the watermark's column. `names`: all columns of the table, also those that are not right.
pub(super) fn check_watermark(
    watermark: &WatermarkText,
    columns: &HashMap<String, Column>,
    names: &[&str],
    errors: &mut Vec<Error>,
) {
    if !names.contains(&watermark.column.as_str()) {
        errors.push(unknown_column("the watermark", &watermark.column, names).at(watermark.at.clone()));
        return;
    }
    // A column that is itself wrong has been reported.
    let Some(column) = columns.get(&watermark.column) else { return };
    if !matches!(column.data_type, DataType::Timestamp(..)) {
        let name = &watermark.column;
        let hint = match column.kind {
            ColumnKind::Computed(_) => format!("write {name} AS CAST(… AS TIMESTAMP(3))"),
            _ => format!("declare it as {name} TIMESTAMP(3)"),
        };
        errors.push(
            Error::invalid(format!("the watermark's column \"{name}\" is not a timestamp"))
                .hint(hint)
                .at(watermark.at.clone()),
        );
    }
}

/// The column that a watermark is of.
#[derive(Clone, Copy)]
struct Subject<'a> {
    name: &'a str,
    computed: Option<&'a Expr>,
}

/// What is wrong, and with which part.
struct Wrong<'a>(Error, &'a Expr);

/// The outermost function of an expression, if it changes anything, and what it is a function of; `None` at the column itself.
fn last_step<'a>(expr: &'a Expr, subject: Subject<'_>) -> Result<Option<(Option<Monotone>, &'a Expr)>, Wrong<'a>> {
    if subject.computed.is_some_and(|computed| written_alike(computed, expr)) {
        return Ok(None);
    }
    let column = subject.name;
    let unknown = || {
        let error = Error::invalid(format!(
            "a watermark must not fall when \"{column}\" rises, which is not known of {}",
            shown(expr)
        ));
        Wrong(
            error.hint(format!(
                "write {column} - INTERVAL '5' SECOND; date_trunc, date_bin and casts to another precision can stand in it"
            )),
            expr,
        )
    };
    let (step, inner) = match expr {
        Expr::Nested(inner) => (None, inner.as_ref()),
        Expr::Identifier(ident) if normalize(ident) == column => return Ok(None),
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
            return Err(Wrong(
                Error::invalid(format!("the watermark of \"{column}\" cannot be made of {}", shown(expr)))
                    .hint(format!("write WATERMARK FOR {column} AS {column} - INTERVAL '5' SECOND")),
                expr,
            ));
        }
        Expr::BinaryOp { left, op: BinaryOperator::Minus, right } if matches!(right.as_ref(), Expr::Interval(_)) => {
            (Some(Monotone::Less(length("the watermark's delay", right)?)), left.as_ref())
        }
        Expr::BinaryOp { left, op: BinaryOperator::Plus, right }
            if [left, right].iter().any(|side| matches!(side.as_ref(), Expr::Interval(_))) =>
        {
            return Err(Wrong(
                Error::invalid("a watermark ahead of its column would make every row late")
                    .hint(format!("write {column} - INTERVAL '5' SECOND")),
                expr,
            ));
        }
        Expr::Cast { expr: inner, data_type, .. } => {
            let step = match arrow_type(data_type) {
                Some(DataType::Timestamp(unit, _)) => Some(Monotone::precision(unit)),
                Some(DataType::Date32) => Monotone::truncation("day"),
                _ => return Err(unknown()),
            };
            (step, inner.as_ref())
        }
        Expr::Function(function) => rounding(function)?.ok_or_else(unknown)?,
        _ => return Err(unknown()),
    };
    // Times are kept in microseconds.
    let step = step.filter(|step| !matches!(step, Monotone::Less(0) | Monotone::Floor { unit: 1, .. }));
    Ok(Some((step, inner)))
}

/// `date_trunc` and `date_bin`; `None` for anything else.
fn rounding(function: &Function) -> Result<Option<(Option<Monotone>, &Expr)>, Wrong<'_>> {
    let arguments = plain_arguments(function).unwrap_or_default();
    Ok(match (function.name.to_string().to_lowercase().as_str(), arguments.as_slice()) {
        ("date_trunc" | "datetrunc", [part, inner]) => {
            let step = text(part).and_then(Monotone::truncation);
            let unknown = || Error::invalid(format!("date_trunc has no part {part}"));
            let hint = "write 'second', 'minute', 'hour', 'day', 'week', 'month', 'quarter' or 'year'";
            Some((Some(step.ok_or_else(|| Wrong(unknown().hint(hint), part))?), inner))
        }
        ("date_bin", [stride, inner, origin @ ..]) if origin.len() < 2 => {
            let unit = length("the stride of date_bin", stride)?;
            if unit == 0 {
                return Err(Wrong(Error::invalid("the stride of date_bin must be longer than zero"), stride));
            }
            let origin = origin.first().map_or(Ok(0), |origin| {
                let nanos = text(origin).and_then(|text| string_to_timestamp_nanos(text).ok());
                nanos.map(|nanos| nanos.div_euclid(1_000)).ok_or_else(|| {
                    Wrong(
                        Error::invalid(format!("{} is not a time for date_bin to count from", shown(origin)))
                            .hint("write TIMESTAMP '2024-01-01 00:00:00'"),
                        origin,
                    )
                })
            })?;
            Some((Some(Monotone::Floor { unit, origin }), inner))
        }
        _ => None,
    })
}

fn length<'a>(what: &str, expr: &'a Expr) -> Result<Micros, Wrong<'a>> {
    let length = interval::from_sql(expr).map_err(|why| Wrong(Error::invalid(format!("{what} {why}")), expr))?;
    Ok(micros_of(length))
}

fn text(expr: &Expr) -> Option<&str> {
    let value = match expr {
        Expr::Value(value) => value,
        Expr::TypedString(typed) => &typed.value,
        _ => return None,
    };
    match &value.value {
        Value::SingleQuotedString(text) => Some(text),
        _ => None,
    }
}
