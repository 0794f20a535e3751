//! What WHERE asks of the left side alone is asked before the join: rows of the left wait there, and take memory as long as they do.
//!
//! What it asks of the right side has to stay above. It is asked of the nearest row, and the nearest of some rows may be another one.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Extension, Filter, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::AsOfJoinNode;

/// See the module's first lines.
#[derive(Debug, Default, Clone, Copy)]
pub struct FilterBeforeAsOf;

impl OptimizerRule for FilterBeforeAsOf {
    fn name(&self) -> &str {
        "filter_before_asof"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = plan else { return Ok(Transformed::no(plan)) };
        let LogicalPlan::Extension(extension) = filter.input.as_ref() else {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        };
        let Some(join) = extension.node.as_any().downcast_ref::<AsOfJoinNode>() else {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        };
        let conditions = split_conjunction_owned(filter.predicate.clone()).into_iter();
        let (of_left, others): (Vec<Expr>, Vec<Expr>) = conditions.partition(|condition| is_of(condition, &join.left));
        let Some(of_left) = conjunction(of_left) else { return Ok(Transformed::no(LogicalPlan::Filter(filter))) };
        let left = LogicalPlan::Filter(Filter::try_new(of_left, Arc::new(join.left.clone()))?);
        let join = LogicalPlan::Extension(Extension { node: Arc::new(join.with_left(left)) });
        Ok(Transformed::yes(match conjunction(others) {
            Some(others) => LogicalPlan::Filter(Filter::try_new(others, Arc::new(join))?),
            None => join,
        }))
    }
}

fn is_of(condition: &Expr, left: &LogicalPlan) -> bool {
    let columns = condition.column_refs();
    let reads_more = condition.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        ))
    });
    !condition.is_volatile()
        && !reads_more.unwrap_or(true)
        && !columns.is_empty()
        && columns.into_iter().all(|column| left.schema().has_column(column))
}
