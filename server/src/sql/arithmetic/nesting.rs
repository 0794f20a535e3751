//! How deep functions of ours stand in one another. A chain of hundreds of additions is one expression, and what every level
//! says of all levels below it would cost the square of that: so texts and names end at some depth.

use std::hash::{DefaultHasher, Hash, Hasher};

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable};

use super::cast::CheckedCast;
use super::checked::Checked;

/// Levels of an expression that messages show; the rest is `…`.
const SHOWN_MAX: usize = 6;
/// Levels whose names are spelled out, as the operators' own; names of deeper ones never leave the plan.
const SPELLED_MAX: usize = 16;

/// What one function knows of those among its arguments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nesting {
    depth: usize,
    /// The same for the same function over the same arguments.
    digest: u64,
}

impl Nesting {
    pub(super) fn of(function: impl Hash, arguments: &[&Expr]) -> Self {
        let (mut hasher, mut depth) = (DefaultHasher::new(), 0);
        function.hash(&mut hasher);
        for argument in arguments {
            match inside(argument) {
                Some(nesting) => {
                    depth = depth.max(nesting.depth + 1);
                    nesting.digest.hash(&mut hasher);
                }
                None => argument.hash(&mut hasher),
            }
        }
        Nesting { depth, digest: hasher.finish() }
    }

    /// A short name in the place of one that would have to be spelled out from too deep.
    pub(super) fn name(self) -> Option<String> {
        (self.depth > SPELLED_MAX).then(|| format!("arithmetic {:016x}", self.digest))
    }
}

fn inside(expr: &Expr) -> Option<Nesting> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let function = call.func.inner();
    let checked = || function.downcast_ref::<Checked>().map(|checked| checked.nesting);
    checked().or_else(|| function.downcast_ref::<CheckedCast>().map(|cast| cast.nesting))
}

/// An expression's type, without asking all levels below for theirs.
pub(super) fn type_of(expr: &Expr, schema: &DFSchema) -> Result<DataType> {
    if let Expr::ScalarFunction(call) = expr {
        let function = call.func.inner();
        if let Some(checked) = function.downcast_ref::<Checked>() {
            return Ok(checked.data_type.clone());
        }
        if let Some(cast) = function.downcast_ref::<CheckedCast>() {
            return Ok(cast.field.data_type().clone());
        }
    }
    expr.get_type(schema)
}

/// An expression as messages show it, near to how it was written: columns without their tables, values without their types,
/// and nothing of what the analyzer has added.
pub(super) fn text_of(expr: &Expr) -> String {
    shown(expr, SHOWN_MAX)
}

fn shown(expr: &Expr, levels: usize) -> String {
    let Some(below) = levels.checked_sub(1) else { return "…".to_owned() };
    let operand = |operand: &Expr| match operand {
        Expr::BinaryExpr(_) => format!("({})", shown(operand, below)),
        Expr::ScalarFunction(call) if call.func.inner().is::<Checked>() => format!("({})", shown(operand, below)),
        _ => shown(operand, below),
    };
    match expr {
        Expr::Column(column) => column.name.clone(),
        Expr::Literal(value, _) if value.data_type().is_string() => format!("'{value}'"),
        Expr::Literal(value, _) => value.to_string(),
        Expr::Cast(cast) => shown(&cast.expr, levels),
        Expr::Alias(alias) => shown(&alias.expr, levels),
        Expr::Negative(inner) => format!("-{}", operand(inner)),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => format!("{} {op} {}", operand(left), operand(right)),
        Expr::ScalarFunction(call) => match (call.func.inner().downcast_ref::<Checked>(), call.args.as_slice()) {
            (Some(_), [inner]) => format!("-{}", operand(inner)),
            (Some(checked), [left, right]) => {
                format!("{} {} {}", operand(left), checked.operation.operator(), operand(right))
            }
            // The argument stands for the cast, too.
            (None, [inner]) if call.func.inner().is::<CheckedCast>() => shown(inner, levels),
            (_, arguments) => {
                let arguments: Vec<String> = arguments.iter().map(|argument| shown(argument, below)).collect();
                format!("{}({})", call.func.name(), arguments.join(", "))
            }
        },
        _ => "…".to_owned(),
    }
}
