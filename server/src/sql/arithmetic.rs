//! Whole numbers that never wrap: a result beyond its type is an error that names the expression and its values.
//!
//! DataFusion's `+`, `-`, `*` and `sum` of integers wrap silently, and its errors of `/` and `%` name no value. Once the
//! analyzer has settled the types, a rule puts functions of ours in the place of these operators, under the same name; and
//! `sum` is one of ours. Other types keep DataFusion's own arithmetic, which does not wrap. Casts of texts fail most of all,
//! and are put into functions for their messages alone.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{AggregateUDF, BinaryExpr, Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use self::cast::CheckedCast;
use self::checked::{Checked, Operation};
use self::nesting::{text_of, type_of};
use self::sum::Sum;

mod cast;
mod checked;
mod nesting;
mod sum;

pub use checked::is_checked;

/// Makes a session compute with integers as the module says.
pub fn add_arithmetic(session: &SessionContext) {
    session.add_analyzer_rule(Arc::new(CheckedIntegers));
    session.register_udaf(AggregateUDF::from(Sum::default()));
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
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                Ok(checked(expr, &schema)?.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(checked.data)
    }

    fn name(&self) -> &str {
        "checked_integers"
    }
}

/// The expression with functions in the place of operators and casts that can fail. `schema`: that of the rows it is computed from.
fn checked(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|part| {
        if let Expr::Cast(cast) = &part {
            return Ok(match type_of(&cast.expr, schema) {
                // What a literal is shows while the plan is made.
                Ok(from)
                    if cast::can_fail(&from, cast.field.data_type()) && !matches!(*cast.expr, Expr::Literal(..)) =>
                {
                    let checked = CheckedCast::new(Arc::clone(&cast.field), &cast.expr);
                    Transformed::yes(checked.call(cast.expr.as_ref().clone()))
                }
                _ => Transformed::no(part),
            });
        }
        let (operation, arguments) = match &part {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match Operation::of(*op) {
                Some(operation) => (operation, vec![left.as_ref(), right.as_ref()]),
                None => return Ok(Transformed::no(part)),
            },
            // A negative literal is one already.
            Expr::Negative(inner) if !matches!(inner.as_ref(), Expr::Literal(..)) => {
                (Operation::Negate, vec![inner.as_ref()])
            }
            _ => return Ok(Transformed::no(part)),
        };
        let types = arguments.iter().map(|argument| type_of(argument, schema)).collect::<Result<Vec<_>>>();
        match types {
            Ok(types) if operation.can_fail_on(&types) => {
                let checked = Checked::new(operation, &types[0], text_of(&part), &arguments);
                Ok(Transformed::yes(checked.call(arguments.into_iter().cloned().collect())))
            }
            // What has no type yet, as an open parameter, is looked at again when it has.
            _ => Ok(Transformed::no(part)),
        }
    })
}

#[cfg(test)]
mod tests;
