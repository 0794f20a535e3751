//! `CHECK (…)` of a `CREATE TABLE` → conditions on the values of one column.
//!
//! A record must be judged by itself and fast, so a check compares one column with constants and says nothing else; the
//! rest belongs into the WHERE of a query. A constant is read as the value of a record would be, by the same decoder.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType as SqlType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned,
    UnaryOperator, Value,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Span, Token};

use super::ddl::unknown_column;
use super::parser::{StatementParser, normalize};
use super::source_text::is_end;
use crate::catalog::{Check, Column, ColumnKind, Constants, Relation};
use crate::decode::json::{JsonColumn, JsonDecoder, quote, sql_type};
use crate::error::{Error, Location, Result};

const AVAILABLE: &str = "a CHECK compares one column, or length(column), with constants: IN (…), BETWEEN … AND …, =, <>, <, <=, >, >=, \
     and AND between them";
const ELSEWHERE: &str = "put it into the WHERE of the queries";

/// A check as written.
pub(super) struct CheckText {
    expr: Expr,
    at: Location,
    /// The column that it stands behind; `None` where it stands for itself.
    behind: Option<String>,
}

/// What is compared.
#[derive(Clone, PartialEq)]
struct Subject {
    column: String,
    is_length: bool,
}

/// One comparison: a subject, how it stands to constants, and these.
struct Comparison<'a> {
    subject: Subject,
    relation: Relation,
    constants: Vec<&'a Expr>,
}

impl StatementParser<'_> {
    pub(super) fn at_check(&self) -> bool {
        // A column may be called so.
        self.parser.peek_keyword(Keyword::CHECK) && self.parser.peek_nth_token_ref(1).token == Token::LParen
    }

    /// `CHECK (…)`.
    pub(super) fn check(&mut self, behind: Option<String>) -> Result<CheckText> {
        let at = self.here();
        self.expect_keyword(Keyword::CHECK)?;
        self.expect_token(&Token::LParen)?;
        let expr = self.parser.parse_expr();
        let expr = self.parsed(expr)?;
        self.expect_token(&Token::RParen)?;
        Ok(CheckText { expr, at, behind })
    }

    /// Gives the column what the check says. `names`: all columns of the table, also those that are not right.
    ///
    /// # Errors
    /// `Invalid` where it says something that a check cannot, or names something else than constants of the column's type.
    pub(super) fn add_check(
        &self,
        check: &CheckText,
        columns: &mut HashMap<String, Column>,
        names: &[&str],
    ) -> Result<()> {
        let mut name: Option<&str> = check.behind.as_deref();
        let comparisons = self.comparisons(check)?;
        for Comparison { subject, .. } in &comparisons {
            if !names.contains(&subject.column.as_str()) {
                return Err(unknown_column("the CHECK", &subject.column, names).at(check.at.clone()));
            }
            let first = *name.get_or_insert(&subject.column);
            if first != subject.column {
                return Err(Error::invalid(format!(
                    "a CHECK is about one column, this one about \"{first}\" and \"{}\"",
                    subject.column
                ))
                .hint("write one for each column; put what compares columns into the WHERE of the queries")
                .at(check.at.clone()));
            }
        }
        // A column that is itself wrong has been reported.
        let Some(column) = name.and_then(|name| columns.get_mut(name)) else { return Ok(()) };
        if matches!(column.kind, ColumnKind::Metadata(_)) {
            return Err(Error::invalid(format!(
                "column \"{}\" is metadata, which a CHECK is not made of",
                column.name
            ))
            .hint(ELSEWHERE)
            .at(check.at.clone()));
        }
        let checks = comparisons.iter().map(|comparison| self.read(comparison, column, &check.at));
        let checks = checks.collect::<Result<Vec<_>>>()?;
        column.checks.extend(checks);
        Ok(())
    }

    fn comparisons<'a>(&self, check: &'a CheckText) -> Result<Vec<Comparison<'a>>> {
        let mut comparisons = Vec::new();
        // A long chain of ANDs is as deep as it is long.
        let mut open = vec![&check.expr];
        while let Some(expr) = open.pop() {
            match expr {
                Expr::BinaryOp { left, op: BinaryOperator::And, right } => open.extend([right.as_ref(), left.as_ref()]),
                Expr::Nested(inner) => open.push(inner),
                other => comparisons.push(comparison(other).ok_or_else(|| {
                    Error::invalid(format!("a CHECK cannot say {}", shown(other)))
                        .detail(AVAILABLE)
                        .hint(ELSEWHERE)
                        .at(self.place(other.span(), &check.at))
                })?),
            }
        }
        Ok(comparisons)
    }

    /// `at`: where the check is, for what has no place of its own.
    fn read(&self, comparison: &Comparison<'_>, column: &Column, at: &Location) -> Result<Check> {
        let Comparison { subject, relation, constants } = comparison;
        let is_text = column.data_type == DataType::Utf8View;
        let (what, says) = (describe(subject), declared(column));
        let is_json = column.reading.json.is_whole();
        if !Constants::can_be_of(&column.data_type)
            || (subject.is_length && !is_text)
            || (is_json && !subject.is_length)
        {
            let hint = match subject.is_length {
                true => "length is that of a text: declare the column as VARCHAR",
                false if is_json => {
                    "compare what is in it in the WHERE of the queries, as in json_value(j, '$.a') = 'x'"
                }
                false => "numbers, texts, dates and times can be compared",
            };
            return Err(Error::invalid(format!("a CHECK cannot compare {what}, which is {says}"))
                .hint(hint)
                .at(at.clone()));
        }
        let (data_type, checks) = match subject.is_length {
            true => (DataType::Int64, Vec::new()),
            false => {
                (column.data_type.clone(), column.checks.iter().filter(|check| check.is_uuid()).cloned().collect())
            }
        };
        let says = if subject.is_length { sql_type(&data_type) } else { says };
        let field = Field::new(&subject.column, data_type, false);
        let mut decoder = JsonDecoder::try_new(&[JsonColumn { checks, ..JsonColumn::from(field.clone()) }])?;
        let name = json_text(&subject.column)?;
        for constant in constants {
            let place = || self.place(constant.span(), at);
            let refused = |detail: Option<String>| {
                let error =
                    Error::invalid(format!("{} cannot be compared with {what}, which is {says}", shown(constant)));
                let error = detail.into_iter().fold(error, Error::detail);
                error.hint("write a constant of that type").at(place())
            };
            if matches!(constant, Expr::Value(value) if value.value == Value::Null) {
                return Err(Error::invalid("NULL in a CHECK would let every value pass")
                    .hint("leave it out: NULL passes anyway, unless the column is NOT NULL")
                    .at(place()));
            }
            let value = json_constant(constant, field.data_type()).ok_or_else(|| refused(None))?;
            decoder
                .decode(format!("{{{name}:{value}}}").as_bytes())
                .map_err(|error| refused(Some(format!("in a record it would be refused: {}", error.reason))))?;
        }
        let values = Constants::of(decoder.flush()?.column(0))
            .ok_or_else(|| Error::bug("constants of a type that is not compared"))?;
        let shown = constants.iter().map(|constant| shown(constant)).collect::<Vec<_>>();
        if *relation == Relation::Between && values.is_descending() {
            return Err(Error::invalid(format!("no value lies between {}", shown.join(" and ")))
                .hint("the lower bound comes first")
                .at(self.place(constants[0].span(), at)));
        }
        Ok(match (subject.is_length, values) {
            (true, Constants::Whole(lengths)) => Check::of_length(*relation, lengths, &shown),
            (_, values) => Check::of_value(*relation, values, &shown),
        })
    }

    /// The place of a part of an expression. `otherwise`: of what has none of its own.
    pub(super) fn place(&self, span: Span, otherwise: &Location) -> Location {
        if is_end(span) { otherwise.clone() } else { self.at(span) }
    }
}

/// `None` for what a check cannot say.
fn comparison(expr: &Expr) -> Option<Comparison<'_>> {
    match expr {
        Expr::InList { expr, list, negated: false } => compared(expr, Relation::OneOf, list.iter().collect()),
        Expr::Between { expr, negated: false, low, high } => compared(expr, Relation::Between, vec![low, high]),
        Expr::BinaryOp { left, op, right } => {
            let (relation, mirrored) = match op {
                BinaryOperator::Eq => (Relation::OneOf, Relation::OneOf),
                BinaryOperator::NotEq => (Relation::Not, Relation::Not),
                BinaryOperator::GtEq => (Relation::AtLeast, Relation::AtMost),
                BinaryOperator::Gt => (Relation::Above, Relation::Below),
                BinaryOperator::LtEq => (Relation::AtMost, Relation::AtLeast),
                BinaryOperator::Lt => (Relation::Below, Relation::Above),
                _ => return None,
            };
            compared(left, relation, vec![right]).or_else(|| compared(right, mirrored, vec![left]))
        }
        _ => None,
    }
}

fn compared<'a>(expr: &Expr, relation: Relation, constants: Vec<&'a Expr>) -> Option<Comparison<'a>> {
    let subject = subject(expr)?;
    let constants: Vec<&Expr> = constants.into_iter().map(without_brackets).collect();
    constants.iter().all(|constant| is_constant(constant)).then_some(Comparison { subject, relation, constants })
}

fn subject(expr: &Expr) -> Option<Subject> {
    match without_brackets(expr) {
        Expr::Identifier(ident) => Some(Subject { column: normalize(ident), is_length: false }),
        Expr::Function(function) => {
            let [Expr::Identifier(ident)] = plain_arguments(function)?.as_slice() else { return None };
            let name = function.name.to_string().to_lowercase();
            let is_length = matches!(name.as_str(), "length" | "char_length" | "character_length");
            is_length.then(|| Subject { column: normalize(ident), is_length })
        }
        _ => None,
    }
}

/// The arguments of a call that has nothing else.
pub(super) fn plain_arguments<'a>(function: &'a Function) -> Option<Vec<&'a Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = function.parameters == FunctionArguments::None
        && function.filter.is_none()
        && function.null_treatment.is_none()
        && function.over.is_none()
        && function.within_group.is_empty()
        && list.duplicate_treatment.is_none()
        && list.clauses.is_empty();
    let expr = |argument: &'a FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    };
    if plain { list.args.iter().map(expr).collect() } else { None }
}

pub(super) fn without_brackets(mut expr: &Expr) -> &Expr {
    while let Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::TypedString(_) => true,
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => {
            matches!(expr.as_ref(), Expr::Value(value) if matches!(value.value, Value::Number(..)))
        }
        _ => false,
    }
}

/// A constant as the value of a record. `None` where it cannot be one of `data_type`, whatever it says.
pub(super) fn json_constant(constant: &Expr, data_type: &DataType) -> Option<String> {
    // In a record a number may also be a time, in milliseconds; in SQL it may not.
    let is_time = data_type.is_temporal();
    let is_text = data_type == &DataType::Utf8View;
    let is_number = !is_time && !is_text;
    match constant {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) if is_number => Some(json_number(digits)),
            Value::SingleQuotedString(text) if is_time || is_text => json_text(text).ok(),
            _ => None,
        },
        Expr::UnaryOp { op, expr } => {
            let Expr::Value(value) = expr.as_ref() else { return None };
            let Value::Number(digits, _) = &value.value else { return None };
            let sign = if *op == UnaryOperator::Minus { "-" } else { "" };
            is_number.then(|| format!("{sign}{}", json_number(digits)))
        }
        Expr::TypedString(typed) => {
            let fits = matches!(
                (&typed.data_type, data_type),
                (SqlType::Date, DataType::Date32)
                    | (SqlType::Time(..), DataType::Time32(_) | DataType::Time64(_))
                    | (SqlType::Timestamp(..), DataType::Timestamp(..))
            );
            let Value::SingleQuotedString(text) = &typed.value.value else { return None };
            fits.then(|| json_text(text).ok())?
        }
        _ => None,
    }
}

/// SQL also allows `.5`, `5.` and `007`.
fn json_number(digits: &str) -> String {
    let digits = digits.trim_start_matches('0');
    let digits = digits.strip_suffix('.').unwrap_or(digits);
    let zero = if digits.starts_with(|first: char| first.is_ascii_digit()) { "" } else { "0" };
    format!("{zero}{digits}")
}

pub(super) fn json_text(text: &str) -> Result<String> {
    serde_json::to_string(text).map_err(|error| Error::bug("a text has no form in JSON").caused_by(error))
}

fn describe(subject: &Subject) -> String {
    match subject.is_length {
        true => format!("length(\"{}\")", subject.column),
        false => format!("column \"{}\"", subject.column),
    }
}

/// The column's type as a statement spells it.
pub(super) fn declared(column: &Column) -> String {
    match column.checks.iter().find(|check| check.is_uuid() || check.is_json()) {
        Some(named) => named.says().to_owned(),
        None => sql_type(&column.data_type),
    }
}

pub(super) fn shown(expr: &Expr) -> String {
    quote(expr.to_string().as_bytes())
}

#[cfg(test)]
mod tests;
