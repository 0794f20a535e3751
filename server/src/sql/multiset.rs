//! `INTERSECT ALL` and `EXCEPT ALL` over input that ends.
//!
//! DataFusion joins by all columns and so keeps or drops every one of equal rows. In SQL `a INTERSECT ALL b` has a row as often as
//! the side that has it less often, `a EXCEPT ALL b` as often as a has it more often than b: the nth of equal rows on one side meets the nth on
//! the other.

use std::sync::Arc;

use datafusion::common::{Column, DFSchema, JoinType, NullEquality, Result};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Distinct, Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder, Projection};

/// Column that counts equal rows, from 1.
const NTH: &str = "__nth";

/// Whether an analyzed join is what INTERSECT or EXCEPT is planned as, with ALL or without: all columns of both sides in their order, NULL
/// equal to NULL. No other join is one before the optimizer has been there.
pub fn is_set_operation(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && join.on.len() == join.left.schema().fields().len()
        && join.on.len() == join.right.schema().fields().len()
}

/// `None` for a set operation without ALL: on its left side every row is there once.
pub(super) fn as_multisets(join: &Join) -> Result<Option<LogicalPlan>> {
    if matches!(join.left.as_ref(), LogicalPlan::Distinct(Distinct::All(_))) || is_counted(join.left.schema()) {
        return Ok(None);
    }
    let (left_keys, right_keys): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
    let left = counted(&join.left, left_keys, "__left")?;
    let right = counted(&join.right, right_keys, "__right")?;
    let nth = |side: &str| Expr::Column(Column::new(Some(side), NTH));
    let on = [join.on.clone(), vec![(nth("__left"), nth("__right"))]].concat();
    let counted = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        None,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        false,
    )?;
    let shown = join.schema.columns().into_iter().map(Expr::Column).collect();
    let shown = Projection::try_new_with_schema(shown, Arc::new(LogicalPlan::Join(counted)), Arc::clone(&join.schema))?;
    Ok(Some(LogicalPlan::Projection(shown)))
}

/// Plans are analyzed more than once.
fn is_counted(schema: &DFSchema) -> bool {
    schema.fields().iter().any(|field| field.name() == NTH)
}

fn counted(side: &LogicalPlan, keys: Vec<Expr>, name: &str) -> Result<LogicalPlan> {
    let nth = row_number().partition_by(keys).build()?;
    let numbered = LogicalPlanBuilder::from(side.clone()).window(vec![nth])?.build()?;
    let mut columns: Vec<Expr> = numbered.schema().columns().into_iter().map(Expr::Column).collect();
    let nth = columns.pop().map(|nth| nth.alias_qualified(Some(name), NTH));
    LogicalPlanBuilder::from(numbered).project(columns.into_iter().chain(nth))?.build()
}
