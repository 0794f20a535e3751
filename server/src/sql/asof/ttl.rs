//! `'state-ttl'`: a row of the right side of which so long no newer one of its key has come is the nearest to none any more.
//!
//! It is a part of what the join means, and not of how an operator cleans up: else the answer would depend on when that happens. So it
//! holds in batch, too, and restarts, epochs and orders change nothing.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{Extension, LogicalPlan};

use super::node::{AsOfJoinNode, Direction, Matching};
use crate::clock::Micros;

/// The plan with this limit in every join that would keep rows of the right for longer, and whether there is such a join.
pub(crate) fn with_state_ttl(plan: LogicalPlan, ttl: Micros) -> Result<(LogicalPlan, bool)> {
    let rewritten = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<AsOfJoinNode>() {
            Some(join) if keeps_longer(&join.matching, ttl) => {
                let join = join.with_matching(Matching { state_ttl: Some(ttl), ..join.matching });
                Ok(Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(join) })))
            }
            _ => Ok(Transformed::no(LogicalPlan::Extension(extension))),
        },
        other => Ok(Transformed::no(other)),
    })?;
    Ok((rewritten.data, rewritten.transformed))
}

/// A row that lies behind what is sought goes as time goes on, and one within a tolerance when that has passed.
fn keeps_longer(matching: &Matching, ttl: Micros) -> bool {
    matching.direction == Direction::Backward && matching.tolerance.is_none_or(|tolerance| tolerance.length > ttl)
}
