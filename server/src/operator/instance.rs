//! A physical plan that runs again and again: each run has an instance of its own, since DataFusion's nodes keep what one run leaves.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

/// A plan that can be executed once, over `leaf` where it is given, else over the leaves that are there. What belongs to no run stays
/// shared: static sides of joins, the state of operators.
pub fn instance_of(
    node: &Arc<dyn ExecutionPlan>,
    leaf: Option<&Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let children = node.children();
    if children.is_empty() {
        return Ok(Arc::clone(leaf.unwrap_or(node)));
    }
    let children = children.into_iter().map(|child| instance_of(child, leaf)).collect::<Result<Vec<_>>>()?;
    let keep = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    let fresh = Arc::clone(node).replace_children(children, keep)?;
    // A sort keeps a filter of its last run, which only its own reset forgets.
    if fresh.is::<SortExec>() { fresh.reset_state() } else { Ok(fresh) }
}
