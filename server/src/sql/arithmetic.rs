//! Whole numbers that never wrap: a result beyond its type is an error that names the expression and its values.
//!
//! DataFusion's `+`, `-`, `*` and `sum` of integers wrap silently, and its errors of `/` and `%` name no value. Once the
//! analyzer has settled the types, a rule puts functions of ours in the place of these operators, under the same name; and
//! `sum` is one of ours. Other types keep DataFusion's own arithmetic, which does not wrap. Casts of texts fail most of all,
//! and are put into functions for their messages alone. Of floating-point numbers `min` and `max` are ours, too.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::context::SessionContext;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{AggregateUDF, BinaryExpr, Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::{AnalyzerRule, ApplyOrder, OptimizerConfig, OptimizerRule};

use self::cast::CheckedCast;
use self::checked::{Checked, Operation};
use self::extreme::Extreme;
use self::sum::Sum;

mod cast;
mod checked;
mod extreme;
mod sum;
mod text;

pub use text::text_of;

/// Makes a session compute with integers as the module says.
pub fn add_arithmetic(session: &SessionContext) {
    session.add_analyzer_rule(Arc::new(CheckedIntegers));
    session.add_optimizer_rule(Arc::new(NamedJoinKeys));
    session.register_udaf(AggregateUDF::from(Sum::default()));
    for others in [min_udaf(), max_udaf()] {
        session.register_udaf(AggregateUDF::from(Extreme::new(others)));
    }
}

/// DataFusion computes the keys of a join beside all columns of its input, where a cast has the name of the column that it casts. It
/// gives its own casts another one there, and this rule ours.
#[derive(Debug, Default, Clone, Copy)]
struct NamedJoinKeys;

impl OptimizerRule for NamedJoinKeys {
    fn name(&self) -> &str {
        "named_join_keys"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(mut join) = plan else { return Ok(Transformed::no(plan)) };
        let is_cast = |key: &Expr| match key {
            Expr::ScalarFunction(call) => call.func.inner().is::<CheckedCast>(),
            _ => false,
        };
        let mut transformed = false;
        for key in join.on.iter_mut().flat_map(|(left, right)| [left, right]).filter(|key| is_cast(key)) {
            let name = key.to_string();
            *key = key.clone().alias(name);
            transformed = true;
        }
        let plan = LogicalPlan::Join(join);
        Ok(if transformed { Transformed::yes(plan) } else { Transformed::no(plan) })
    }
}

/// Runs after the coercion of types: what was written with different types has one by then.
#[derive(Debug, Default, Clone, Copy)]
struct CheckedIntegers;

impl AnalyzerRule for CheckedIntegers {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let checked = plan.transform_up_with_subqueries(|node| {
            let schema = match &node {
                // Their numbers are read while the plan is made, as literals.
                LogicalPlan::Limit(_) => return Ok(Transformed::no(node)),
                LogicalPlan::TableScan(scan) => {
                    DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?
                }
                node => merge_schema(&node.inputs()),
            };
            if matches!(node, LogicalPlan::Window(_) | LogicalPlan::Aggregate(_)) {
                // The name of such a call has the expressions of its ORDER BY and FILTER in it, as they stood there.
                let names = NamePreserver::new(&node);
                return node.map_expressions(|expr| {
                    let name = names.save(&expr);
                    Ok(checked(expr, &schema)?.update_data(|expr| name.restore(expr)))
                });
            }
            node.map_expressions(|expr| checked(expr, &schema))
        })?;
        Ok(checked.data)
    }

    fn name(&self) -> &str {
        "checked_integers"
    }
}

/// The expression with functions in the place of operators and casts that can fail. `schema`: that of the rows it is computed from.
fn checked(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    // From above, so that a chain of operators is seen as a whole; what stands between them is looked at afterwards.
    expr.transform_down(|part| {
        let replaced = match &part {
            Expr::BinaryExpr(_) => chain(&part, schema),
            // A negative literal is one already.
            Expr::Negative(inner) if !matches!(inner.as_ref(), Expr::Literal(..)) => match inner.get_type(schema) {
                Ok(of) if of.is_signed_integer() => Some(Checked::call(Vec::new(), vec![inner.as_ref().clone()])),
                _ => None,
            },
            // What a literal is shows while the plan is made.
            Expr::Cast(cast) if !matches!(cast.expr.as_ref(), Expr::Literal(..)) => match cast.expr.get_type(schema) {
                Ok(from) if cast::can_fail(&from, cast.field.data_type()) => {
                    Some(CheckedCast::call(&cast.field, cast.expr.as_ref().clone()))
                }
                _ => None,
            },
            _ => None,
        };
        Ok(replaced.map_or_else(|| Transformed::no(part), Transformed::yes))
    })
}

/// Operators of integers in a row, as one call. `None` for anything else, and for what has no type yet, as an open
/// parameter: it is looked at again when it has.
fn chain(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let (mut operations, mut operands, mut left, mut data_type) = (Vec::new(), Vec::new(), expr, None);
    while let Expr::BinaryExpr(BinaryExpr { left: further, op, right }) = left
        && let Some(operation) = Operation::of(*op)
    {
        let of = right.get_type(schema).ok().filter(DataType::is_integer);
        if of.is_none() || data_type.as_ref().is_some_and(|data_type| of.as_ref() != Some(data_type)) {
            break;
        }
        data_type = of;
        operations.push(operation);
        operands.push(right.as_ref().clone());
        left = further;
    }
    if left.get_type(schema).ok()? != data_type? {
        return None;
    }
    operands.push(left.clone());
    operations.reverse();
    operands.reverse();
    Some(Checked::call(operations, operands))
}

#[cfg(test)]
mod tests;
