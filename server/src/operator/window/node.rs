//! The logical node: what a windowed `GROUP BY` over a stream becomes in `sql::rewrite`.

use std::cmp::Ordering;
use std::fmt;

use datafusion::common::DFSchemaRef;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::panes::Windows;
use crate::watermark::WatermarkExpr;

/// Where an output column of a windowed aggregate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OutputColumn {
    WindowStart,
    WindowEnd,
    /// The last tick of the window: its end less one unit of the column.
    WindowTime,
    /// `struct<start, end>`, the value of the grouping form `tumble(ts, size)`.
    Window,
    Key(usize),
    Aggregate(usize),
}

/// Group by pane and keys, with state across epochs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowAggNode {
    /// Names the operator's state in checkpoints: stable as long as the query's text is.
    pub id: String,
    pub input: LogicalPlan,
    /// A column of the input: the start of the row's pane.
    pub pane: Expr,
    pub keys: Vec<Expr>,
    pub aggregates: Vec<Expr>,
    pub columns: Vec<OutputColumn>,
    pub windows: Windows,
    /// The watermark of the pane's time column on the input edge.
    pub watermark: WatermarkExpr,
    /// The schema of the aggregate it stands for.
    pub schema: DFSchemaRef,
}

impl PartialOrd for WindowAggNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.id, &self.keys, &self.aggregates).partial_cmp(&(&other.id, &other.keys, &other.aggregates))
    }
}

impl UserDefinedLogicalNodeCore for WindowAggNode {
    fn name(&self) -> &str {
        "WindowAggregate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        std::iter::once(&self.pane).chain(&self.keys).chain(&self.aggregates).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Windows { size, slide, allowed_lateness } = self.windows;
        write!(f, "WindowAggregate: size={size}us slide={slide}us allowed_lateness={allowed_lateness}us")?;
        write!(f, " groupBy=[{}] aggr=[{}]", list(&self.keys), list(&self.aggregates))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut exprs = exprs.into_iter();
        let mut node = self.clone();
        node.pane = exprs.next().unwrap_or(node.pane);
        node.keys = exprs.by_ref().take(self.keys.len()).collect();
        node.aggregates = exprs.collect();
        node.input = inputs.swap_remove(0);
        Ok(node)
    }
}

fn list(exprs: &[Expr]) -> String {
    exprs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
