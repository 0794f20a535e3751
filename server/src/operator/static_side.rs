//! Static rows that a query reads beside its streams: a version that each epoch pins, and that can be read again between two of them.
//!
//! When to read again is decided elsewhere, and what has been read takes effect when the caller says so: an epoch that runs twice sees
//! the same rows twice.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::LogicalPlan;

use crate::error::Result;

/// Puts what has been read in the place of the version before it, which is let go of. To be called between two epochs.
pub type Replace = Box<dyn FnOnce() + Send>;

/// See the module's first lines. The first epoch that needs it reads it, unless it has been read before.
#[async_trait]
pub trait StaticSide: fmt::Debug + Send + Sync {
    /// Names of the tables that its rows come from.
    fn tables(&self) -> &BTreeSet<String>;

    /// Reads what the tables hold now, and makes all of it that epochs need. The version in use stays as it is: both are held, and
    /// counted, until one of them is let go of.
    ///
    /// # Errors
    /// Those of the tables' readers and of the plan over them; `OverBudget` where there is no room beside the version in use, or there
    /// are too many rows.
    async fn read(self: Arc<Self>, context: &Arc<TaskContext>) -> Result<Replace>;
}

/// Names of the tables that a plan scans, also in subqueries.
pub fn tables_read(plan: &LogicalPlan) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            names.insert(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "looking at a plan does not fail");
    names
}

/// Names of the tables that the subqueries in a plan's expressions read, down to the nodes at which `ends` says so.
pub fn tables_of_subqueries(plan: &LogicalPlan, ends: impl Fn(&LogicalPlan) -> bool) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let walked = plan.apply(|node| {
        if ends(node) {
            return Ok(TreeNodeRecursion::Jump);
        }
        node.apply_subqueries(|subquery| {
            names.extend(tables_read(subquery));
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "looking at a plan does not fail");
    names
}
