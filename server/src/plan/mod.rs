//! Analyzed plan → stream plan: what flows on each edge, which nodes keep state, and what bounds it. Pure.
//!
//! One pass from the leaves to the root. Every node hands up its [`Edge`]: event times with their watermarks, window columns, kind of
//! changes, key. What is stateless says how it changes the edge of its input (`derive`); what needs state is recognised by its shape
//! (`recognize`) and becomes an operator; whatever would silently work on each epoch by itself is refused (`refuse`), with what to
//! write instead. It runs after the analyzer and before the optimizer: types are settled, and no rule has yet turned a shape that
//! is known here into an aggregate or a join that would start anew with every epoch. Only joins with static rows are recognised
//! behind the optimizer ([`lookups`]), which makes such of subqueries.

mod derive;
mod early;
mod edge;
mod explain;
mod expression;
mod pane;
mod recognize;
mod refuse;
mod size;
mod view;

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{LogicalPlan, TableScan, TableSource};

pub use derive::derive;
pub use early::{EarlyKey, EarlyPlan, emitting_early, tables_above};
pub use edge::{Bound, ColumnFacts, Edge, Moment, WindowColumn, WindowPart};
pub use explain::{ExplainNode, Names};
pub use recognize::lookup::lookups;
pub use refuse::{has_volatile, refuse_unordered};
pub use size::refuse_size;
pub use view::{ViewFacts, told};

use crate::clock::Micros;
use crate::watermark::WatermarkExpr;

/// What the derivation must know of the tables.
pub trait Streams {
    fn is_stream(&self, scan: &TableScan) -> bool;
    /// The stream that a scan reads, or `None` for a static table. Streams are numbered in the order in which they are asked for.
    fn stream(&self, scan: &TableScan) -> Option<StreamInfo>;
}

/// A stream as a plan reads it.
#[derive(Clone)]
pub struct StreamInfo {
    /// Its place among the sources of the query.
    pub slot: usize,
    pub is_view: bool,
    /// What is known of each of its columns, in terms of the marks of the query's sources.
    pub columns: Vec<ColumnFacts>,
    /// The same table with the hidden column [`crate::operator::logical::ROW`] behind the others.
    pub with_rows: Arc<dyn TableSource>,
}

impl fmt::Debug for StreamInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamInfo(slot {})", self.slot)
    }
}

/// What a view's options say of its plan.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeriveSettings {
    pub allowed_lateness_us: Micros,
}

/// A continuous query between SQL and DataFusion's optimizer.
#[derive(Debug)]
pub struct StreamPlan {
    pub logical: LogicalPlan,
    /// The same with the column [`crate::operator::logical::ROW`] behind the others, where rows still carry it at the root.
    pub with_rows: LogicalPlan,
    /// Of the rows that the query emits.
    pub edge: Edge,
    /// An operator stands behind those that it depends on.
    pub operators: Vec<OperatorInputs>,
    pub explain: ExplainNode,
}

/// The watermarks of an operator's inputs.
#[derive(Debug, Clone)]
pub struct OperatorInputs {
    pub id: String,
    pub watermarks: Vec<WatermarkExpr>,
}

/// Whether a plan reads any stream.
pub fn reads_stream(plan: &LogicalPlan, streams: &dyn Streams) -> bool {
    let mut found = false;
    let walked = plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::TableScan(scan) if streams.is_stream(scan));
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    debug_assert!(walked.is_ok(), "the closure raises no error");
    found
}
