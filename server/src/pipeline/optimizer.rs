//! Which of DataFusion's rules may look at the plan of a stream: all but those that take operators out of it.

use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::optimizer::Optimizer;

/// Where a condition is never true, these put nothing in the place of all that stands below it, state and watermarks included.
const THAT_PRUNE: [&str; 3] = ["eliminate_filter", "eliminate_join", "propagate_empty_relation"];

pub(super) fn stream_optimizer(state: &SessionState) -> Optimizer {
    let rules = state.optimizer().rules.iter().filter(|rule| !THAT_PRUNE.contains(&rule.name()));
    Optimizer::with_rules(rules.map(Arc::clone).collect())
}
