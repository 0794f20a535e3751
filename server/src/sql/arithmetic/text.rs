//! An expression as messages show it, near to how it was written: columns without their tables, values without their types,
//! and nothing of what the analyzer has added.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{BinaryExpr, Expr};

use super::cast::CheckedCast;
use super::checked::Checked;
use crate::sql::interval;
use crate::sql::result_size::is_joined;

/// What it does not know to write is `…`.
pub fn text_of(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(length)), _) if length.months == 0 => {
            let days = i64::from(length.days).saturating_mul(86_400_000_000);
            format!("INTERVAL '{}'", interval::shown(days.saturating_add(length.nanoseconds / 1_000)))
        }
        Expr::Literal(value, _) if value.data_type().is_string() => format!("'{value}'"),
        Expr::Literal(value, _) => value.to_string(),
        Expr::Cast(cast) => text_of(&cast.expr),
        Expr::Alias(alias) => text_of(&alias.expr),
        Expr::Negative(inner) => format!("-{}", operand(inner)),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => format!("{} {op} {}", operand(left), operand(right)),
        Expr::ScalarFunction(call) => {
            let function = call.func.inner();
            match (function.downcast_ref::<Checked>(), call.args.as_slice()) {
                (Some(checked), _) => checked.text(),
                // The argument stands for the cast, too.
                (None, [inner]) if function.is::<CheckedCast>() => text_of(inner),
                (None, [left, right]) if is_joined(&call.func) => format!("{} || {}", operand(left), operand(right)),
                (None, arguments) => {
                    let arguments: Vec<String> = arguments.iter().map(text_of).collect();
                    format!("{}({})", call.func.name(), arguments.join(", "))
                }
            }
        }
        Expr::AggregateFunction(call) => aggregate(call),
        Expr::Not(inner) => format!("NOT {}", operand(inner)),
        Expr::IsNull(inner) => format!("{} IS NULL", operand(inner)),
        Expr::IsNotNull(inner) => format!("{} IS NOT NULL", operand(inner)),
        _ => "…".to_owned(),
    }
}

fn aggregate(call: &AggregateFunction) -> String {
    let AggregateFunctionParams { args, distinct, filter, order_by, .. } = &call.params;
    let list = |exprs: &[Expr]| exprs.iter().map(text_of).collect::<Vec<_>>().join(", ");
    let all = call.func.name() == "count" && matches!(args.as_slice(), [Expr::Literal(..)]);
    let mut inside = if all { "*".to_owned() } else { list(args) };
    if *distinct {
        inside.insert_str(0, "DISTINCT ");
    }
    if !order_by.is_empty() {
        let orders: Vec<String> = order_by
            .iter()
            .map(|order| format!("{}{}", text_of(&order.expr), if order.asc { "" } else { " DESC" }))
            .collect();
        inside = format!("{inside} ORDER BY {}", orders.join(", "));
    }
    let filter = filter.as_ref().map(|filter| format!(" FILTER (WHERE {})", text_of(filter))).unwrap_or_default();
    format!("{}({inside}){filter}", call.func.name())
}

/// In brackets where it is itself an operation.
pub(super) fn operand(expr: &Expr) -> String {
    let is_operation = match expr {
        Expr::BinaryExpr(_) => true,
        Expr::Cast(cast) => return operand(&cast.expr),
        Expr::ScalarFunction(call) => call.func.inner().is::<Checked>(),
        _ => false,
    };
    let text = text_of(expr);
    if is_operation { format!("({text})") } else { text }
}
