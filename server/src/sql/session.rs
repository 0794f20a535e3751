//! The session in which queries are planned: the functions and relations that every Touchline query may use.

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionContext;

use super::session_config;
use super::window_functions::window_functions;
use super::window_tvf::{WatermarkColumns, WindowTvfPlanner};
use crate::error::Result;

/// A session without tables. `partitions`: how many ways its plans run in parallel.
pub fn session(watermarks: Arc<dyn WatermarkColumns>, partitions: usize) -> Result<SessionContext> {
    let config = session_config().with_target_partitions(partitions);
    let state = SessionStateBuilder::new().with_config(config).with_default_features().build();
    let context = SessionContext::new_with_state(state);
    touchline_udfs::register(&context);
    window_functions().into_iter().for_each(|function| context.register_udf(function));
    context.register_relation_planner(Arc::new(WindowTvfPlanner::new(watermarks)))?;
    Ok(context)
}
