//! `DEFAULT …` of a column → the value that a record has which lacks the field.
//!
//! It is read as the value of a record would be, by the same decoder: so it is of the column's type, and meets its checks.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::display::array_value_to_string;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue, plan_err};
use datafusion::error::Result as PlanResult;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{ColumnarValue, EmptyRelation, Expr, LogicalPlan, Projection, Volatility};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, ExprWithAlias, Spanned, Value};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use touchline_udfs::json::is_json;

use super::check::{declared, json_constant, json_text, shown, without_brackets};
use super::parser::StatementParser;
use super::{StreamTypes, add_arithmetic, add_result_limits, add_to_timestamp_ltz, session_config};
use crate::catalog::{Column, ColumnKind, DefaultValue};
use crate::decode::json::{JsonColumn, JsonDecoder};
use crate::error::{Error, Location, Result};

/// Of a value that the type has and the column's CHECK or length has not.
const AGAINST_OWN_RULE: &str = "write a value that the column's own CHECK or length allows, or leave DEFAULT out";

/// A default as written.
pub(super) struct DefaultText {
    expr: SqlExpr,
    pub(super) at: Location,
}

impl StatementParser<'_> {
    /// What follows `DEFAULT`, of which the place is `at`.
    pub(super) fn default(&mut self, at: Location) -> Result<DefaultText> {
        // What binds no stronger than this stands behind it: in `DEFAULT 0 NOT NULL` the last words are the column's.
        let expr = self.parser.parse_subexpr(GenericDialect.prec_value(Precedence::Is));
        Ok(DefaultText { expr: self.parsed(expr)?, at })
    }

    /// # Errors
    /// `Invalid` where it is no constant, or not one of the column's values.
    pub(super) fn set_default(&self, text: &DefaultText, column: &mut Column) -> Result<()> {
        let expr = without_brackets(&text.expr);
        let place = || self.place(expr.span(), &text.at);
        let name = &column.name;
        let wrong = match column.kind {
            ColumnKind::Physical { .. } => None,
            ColumnKind::Metadata(_) => Some(("is metadata, which a record never lacks", "leave DEFAULT out")),
            ColumnKind::Computed(_) => Some((
                "is computed, and lacks nothing",
                "leave DEFAULT out, and write coalesce(…, value) in its expression",
            )),
        };
        if let Some((what, hint)) = wrong {
            return Err(Error::invalid(format!("column \"{name}\" {what}")).hint(hint).at(text.at.clone()));
        }
        if matches!(expr, SqlExpr::Value(value) if value.value == Value::Null) {
            // That is what a record has anyway.
            return match column.nullable {
                true => Ok(()),
                false => {
                    Err(Error::invalid(format!("the default of column \"{name}\" is NULL, and the column NOT NULL"))
                        .hint("leave DEFAULT out: a record that lacks the field is a bad row then")
                        .at(place()))
                }
            };
        }
        let refused = |detail: Option<String>, hint: &str| {
            let says = declared(column);
            let error =
                Error::invalid(format!("{} cannot be the default of column \"{name}\", which is {says}", shown(expr)));
            detail.into_iter().fold(error, Error::detail).hint(hint).at(place())
        };
        let json = match literal(expr, column) {
            Some(json) => json,
            None => {
                let value = constant(expr).map_err(|error| {
                    Error::invalid(format!("the default of column \"{name}\" is no constant: {}", shown(expr)))
                        .detail(Error::from(error).primary())
                        .hint("write a constant, as in DEFAULT 0; what depends on the row belongs into the query, as in coalesce(a, b)")
                        .at(place())
                })?;
                json_of(&value, column).ok_or_else(|| refused(None, hint(column)))?
            }
        };
        let of_type = JsonColumn { json: column.reading.json.clone(), ..column.field().into() };
        let mut decoder = JsonDecoder::try_new(&[JsonColumn { checks: column.checks.clone(), ..of_type.clone() }])?;
        let record = format!("{{{}:{json}}}", json_text(name)?);
        if let Err(error) = decoder.decode(record.as_bytes()) {
            let is_of_type = JsonDecoder::try_new(&[of_type])?.decode(record.as_bytes()).is_ok();
            let hint = if is_of_type { AGAINST_OWN_RULE } else { hint(column) };
            return Err(refused(Some(format!("in a record it would be refused: {}", error.reason)), hint));
        }
        let value = ScalarValue::try_from_array(decoder.flush()?.column(0), 0)?;
        column.reading.default = Some(DefaultValue { json, value });
        Ok(())
    }
}

fn hint(column: &Column) -> &'static str {
    match is_written_as_json(column) {
        true => "write it as JSON in quotes, as in DEFAULT '[]'",
        false => "write a constant of that type",
    }
}

fn is_written_as_json(column: &Column) -> bool {
    column.reading.json.is_whole() || column.data_type.is_nested()
}

/// What is written as a constant, as the value of a record; `None` for anything else.
fn literal(expr: &SqlExpr, column: &Column) -> Option<String> {
    let text = match expr {
        SqlExpr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.trim()),
            Value::Boolean(flag) if column.data_type == DataType::Boolean => return Some(flag.to_string()),
            _ => None,
        },
        _ => None,
    };
    // Nothing may be smuggled in behind the value.
    if is_written_as_json(column) {
        return text.filter(|text| is_json(text)).map(str::to_owned);
    }
    json_constant(expr, &column.data_type)
}

/// The value of an expression that has no other than constants in it.
fn constant(expr: &SqlExpr) -> PlanResult<ScalarValue> {
    let state = SessionStateBuilder::new()
        .with_config(session_config())
        .with_default_features()
        .with_type_planner(Arc::new(StreamTypes))
        .build();
    let context = SessionContext::new_with_state(state);
    touchline_udfs::register(&context);
    add_arithmetic(&context);
    add_to_timestamp_ltz(&context);
    add_result_limits(&context);
    let (state, over) = (context.state(), DFSchema::empty());
    let expr = ExprWithAlias { expr: expr.clone(), alias: None };
    let expr = state.create_logical_expr_from_sql_expr(expr, &over)?;
    expr.apply(|part| match part {
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
            plan_err!("{}() does not always give the same value", call.func.name())
        }
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    // The analyzer settles types, as it does for queries.
    let row = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, schema: Arc::new(over.clone()) });
    let plan = LogicalPlan::Projection(Projection::try_new(vec![expr.alias("value")], Arc::new(row))?);
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
    let LogicalPlan::Projection(projection) = plan else { return plan_err!("it is no expression") };
    let [expr] = projection.expr.as_slice() else { return plan_err!("it is no expression") };
    let physical = state.create_physical_expr(expr.clone().unalias(), &over)?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
    match physical.evaluate(&row)? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(values) => ScalarValue::try_from_array(&values, 0),
    }
}

/// A value as one of a record for this column; `None` where it is of another kind.
fn json_of(value: &ScalarValue, column: &Column) -> Option<String> {
    if value.is_null() {
        return None;
    }
    if is_written_as_json(column) {
        return value.try_as_str().flatten().filter(|text| is_json(text)).map(|text| text.trim().to_owned());
    }
    let found = value.data_type();
    let shown = || array_value_to_string(&value.to_array().ok()?, 0).ok();
    let is_text = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_time_of_day = |data_type: &DataType| matches!(data_type, DataType::Time32(_) | DataType::Time64(_));
    match &column.data_type {
        DataType::Boolean if found == DataType::Boolean => shown(),
        numbers if numbers.is_numeric() => shown().filter(|_| found.is_numeric()),
        text if is_text(text) => json_text(value.try_as_str().flatten()?).ok(),
        DataType::Binary => match value {
            ScalarValue::Binary(Some(bytes)) | ScalarValue::BinaryView(Some(bytes)) => {
                json_text(&STANDARD.encode(bytes)).ok()
            }
            _ => None,
        },
        time if time.is_temporal() => {
            let same = match time {
                DataType::Date32 => found == DataType::Date32,
                DataType::Timestamp(..) => matches!(found, DataType::Timestamp(..)),
                time => is_time_of_day(time) && is_time_of_day(&found),
            };
            shown().filter(|_| same).and_then(|text| json_text(&text).ok())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
