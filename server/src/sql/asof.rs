//! As-of joins and temporal joins: how they are written, and how they get into plans of which neither sqlparser nor DataFusion knows them.
//!
//! ```text
//! tokens  `ASOF [LEFT] JOIN b ON …` becomes the one form that sqlparser reads
//! marks   each such join becomes an ordinary one whose comparisons of times are marked: that is what DataFusion plans
//! rule    in the analyzed plan a marked join becomes a node of ours
//! node    its keys and times, which row is the nearest, and how near it has to be
//! filter  what is asked of the left side alone is asked before
//! ttl     versions that are too old are none, where the view says so
//! ```

mod filter;
mod marks;
mod node;
mod rule;
mod tokens;
mod ttl;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::context::SessionContext;
use datafusion::sql::sqlparser::tokenizer::Span;

pub use filter::FilterBeforeAsOf;
pub(crate) use marks::mark_joins;
pub use node::{AsOfJoinNode, Direction, Matching, Tolerance};
pub(crate) use tokens::with_match_conditions;
pub(crate) use ttl::with_state_ttl;

use super::window_tvf::WatermarkColumns;

/// What is wrong with a join as it is written, what to write instead, and where it stands.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) hint: String,
    pub(crate) span: Span,
}

impl Wrong {
    fn new(what: impl Into<String>, hint: impl Into<String>, span: Span) -> Self {
        Wrong { what: what.into(), hint: hint.into(), span }
    }
}

/// Teaches a session to plan marked joins. Has to be added behind what settles types: keys are compared as they are.
pub fn add_asof_joins(session: &SessionContext, watermarks: Arc<dyn WatermarkColumns>) -> Result<()> {
    session.state_ref().write().register_expr_planner(Arc::new(marks::MarkPlanner))?;
    session.add_analyzer_rule(Arc::new(rule::AsOfJoins::new(watermarks)));
    session.add_optimizer_rule(Arc::new(FilterBeforeAsOf));
    Ok(())
}

#[cfg(test)]
mod tests;
