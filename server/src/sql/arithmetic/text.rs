//! An expression as messages show it, near to how it was written: columns without their tables, values without their types,
//! and nothing of what the analyzer has added.

use datafusion::logical_expr::{BinaryExpr, Expr};

use super::cast::CheckedCast;
use super::checked::Checked;

pub(super) fn text_of(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
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
                (None, arguments) => {
                    let arguments: Vec<String> = arguments.iter().map(text_of).collect();
                    format!("{}({})", call.func.name(), arguments.join(", "))
                }
            }
        }
        _ => "…".to_owned(),
    }
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
