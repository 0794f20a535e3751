//! What DataFusion's own nodes cannot do when a plan is run again and again, once per epoch: keep something between two runs.
//!
//! [`contract`] says what a stateful operator is, [`logical`] and [`node`] are the two plan nodes that run any of them, and
//! [`epoch_cell`] is what they see of the running epoch. [`instance`] makes a plan run anew, [`isolate`] finds the rows that an expression
//! cannot take; [`static_side`] is what lookups read. Each folder
//! beside them is one operator. Every operator drains all of its inputs in every epoch, whatever it makes of them. What keeps
//! nothing, as a lookup join, is a node of its own. [`batch_planner()`] knows the nodes of plans that run once.

pub mod asof;
mod batch_planner;
mod bits;
pub mod contract;
pub mod epoch_cell;
pub mod instance;
pub mod interval_join;
pub mod isolate;
mod keys;
mod late;
pub mod logical;
pub mod lookup_join;
pub mod node;
pub mod once;
pub mod pane;
pub mod project;
mod rows;
pub mod session;
pub mod static_side;
pub mod window;

use std::sync::Arc;

use datafusion::logical_expr::UserDefinedLogicalNode;
use datafusion::physical_plan::ExecutionPlan;

pub use self::batch_planner::batch_planner;
use self::batch_planner::over_what_ends;
use self::logical::Lowering;
use self::lookup_join::logical::LookupJoinNode;
use crate::error::Result;

/// The physical node of a logical one that keeps nothing between epochs; `None` for any that is not of ours.
pub async fn lowered_stateless(
    node: &dyn UserDefinedLogicalNode,
    context: Lowering<'_>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    match node.as_any().downcast_ref::<LookupJoinNode>() {
        Some(lookup) => lookup.lower(&context).await.map(Some),
        // What of a query's plan reads no stream.
        None => over_what_ends(node, context.inputs),
    }
}
