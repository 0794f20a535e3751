//! The session in which queries are planned: the functions and relations that every Touchline query may use.

use std::sync::Arc;

use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::window_tvf::WatermarkColumns;
use super::{
    StreamTypes, add_arithmetic, add_asof_joins, add_outer_types, add_result_limits, add_three_valued_in,
    add_to_timestamp_ltz, add_window_functions, expr_planners, physical_optimizer_rules, session_config,
};
use crate::error::Result;
use crate::operator::batch_planner;

/// A session without tables. `partitions`: how many ways its plans run in parallel.
pub fn session(watermarks: Arc<dyn WatermarkColumns>, partitions: usize) -> Result<SessionContext> {
    session_of(session_builder(session_config().with_target_partitions(partitions)).build(), watermarks)
}

/// What the states of all sessions are built of, streaming and ad hoc alike.
pub fn session_builder(config: SessionConfig) -> SessionStateBuilder {
    SessionStateBuilder::new()
        .with_config(config)
        .with_expr_planners(expr_planners())
        .with_default_features()
        .with_type_planner(Arc::new(StreamTypes))
        .with_physical_optimizer_rules(physical_optimizer_rules())
        .with_query_planner(batch_planner())
}

/// A session that knows the functions and relations of Touchline.
pub fn session_of(state: SessionState, watermarks: Arc<dyn WatermarkColumns>) -> Result<SessionContext> {
    let context = SessionContext::new_with_state(state);
    touchline_udfs::register(&context);
    add_outer_types(&context);
    add_arithmetic(&context);
    add_three_valued_in(&context);
    add_to_timestamp_ltz(&context);
    add_asof_joins(&context, Arc::clone(&watermarks))?;
    add_window_functions(&context, watermarks)?;
    add_result_limits(&context);
    Ok(context)
}
