//! Joins before they are recognised: as SQL means them, and with every condition where it belongs, whatever clause it stands in. And
//! whatever keeps rows, before it is recognised: without the columns that nobody reads.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, Projection};
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{Optimizer, OptimizerRule};

use crate::error::Result;
use crate::plan::{Streams, reads_stream};
use crate::sql::window::WindowKind;
use crate::sql::window_tvf::WindowTvfNode;
use crate::sql::{FilterBeforeAsOf, has_sessions};

/// An outer join whose WHERE takes no row with the NULLs that it adds is the join that adds none. Where two streams are joined, or one
/// has to exist for a row of another, conditions of WHERE become those of the join, and what is about one side alone is asked of
/// that side's rows before they are kept.
pub(super) fn arranged(plan: LogicalPlan, streams: &dyn Streams, state: &SessionState) -> Result<LogicalPlan> {
    let outer: Arc<dyn OptimizerRule + Send + Sync> = Arc::new(EliminateOuterJoin::new());
    let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = match joins_streams(&plan, streams)? {
        false => vec![outer],
        true => vec![
            Arc::new(DecorrelatePredicateSubquery::new()),
            Arc::new(EliminateCrossJoin::new()),
            Arc::new(ExtractEquijoinPredicate::new()),
            outer,
            Arc::new(PushDownFilter::new()),
            Arc::new(FilterBeforeAsOf),
        ],
    };
    Ok(Optimizer::with_rules(rules).optimize(plan, state, |_, _| {})?)
}

/// The plan without the columns that nobody reads, where rows of streams are kept as they are: a join, a session and OVER keep what they are
/// given. `None` where none are.
pub(super) fn narrowed(plan: &LogicalPlan, streams: &dyn Streams, state: &SessionState) -> Result<Option<LogicalPlan>> {
    let is_over = |node: &LogicalPlan| Ok(matches!(node, LogicalPlan::Window(_)) && reads_stream(node, streams));
    if !(joins_streams(plan, streams)? || has_sessions(plan)? || plan.exists(is_over)?) {
        return Ok(None);
    }
    let rules = Optimizer::with_rules(vec![Arc::new(OptimizeProjections::new())]);
    Ok(Some(rules.optimize(over_projections(plan.clone())?, state, |_, _| {})?))
}

/// The plan with a projection below all sessions: there the rule can leave columns out that only a condition below reads.
fn over_projections(plan: LogicalPlan) -> Result<LogicalPlan> {
    let projected = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        match extension.node.as_any().downcast_ref::<WindowTvfNode>() {
            Some(window) if matches!(window.kind, WindowKind::Session { .. }) => {
                let columns: Vec<Expr> = window.input.schema().columns().into_iter().map(Expr::Column).collect();
                let rows = Projection::try_new(columns, Arc::new(window.input.clone()))?;
                let window = window.over(LogicalPlan::Projection(rows))?;
                Ok(Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(window) })))
            }
            _ => Ok(Transformed::no(node)),
        }
    })?;
    Ok(projected.data)
}

fn joins_streams(plan: &LogicalPlan, streams: &dyn Streams) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Join(join) => {
                found |= reads_stream(&join.left, streams) && reads_stream(&join.right, streams);
            }
            // A join of ours.
            LogicalPlan::Extension(_) => {
                let inputs = node.inputs();
                found |= inputs.len() > 1 && inputs.into_iter().all(|input| reads_stream(input, streams));
            }
            _ => {}
        }
        node.apply_subqueries(|subquery| {
            found |= reads_stream(subquery, streams);
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}
