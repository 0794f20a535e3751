//! The SQL front: text → typed definitions and plans, and for every mistake its place and what to write instead.
//!
//! `parser` reads a file into the definitions of `catalog`; `window_tvf` plans `TUMBLE` and its like in FROM, `window` is
//! their arithmetic, `zone` that of days, `window_session` that of sessions; `asof` plans joins as of a time; `function` plans users' own functions; `errors` turns whatever planning says into
//! file:line:column, with `call` for wrong arguments. What peers write in other words is read by `spelling`, `types`, `table_clauses`
//! and `to_timestamp_ltz`, and `peers` says what to write for the rest. `arithmetic` keeps integers from wrapping, `outer_types`, `three_valued` and
//! `multiset` give correlated subqueries, `IN` and `INTERSECT ALL` the meaning that they have in SQL, `result_size` refuses results that
//! would not fit into memory, `subquery_levels` statements that take for ever to plan, and `failed_value` finds the
//! expression that a row's value did not suit.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

use self::window_tvf::{WatermarkColumns, WindowTvfPlanner};

mod arithmetic;
mod asof;
mod call;
mod check;
mod circles;
mod column_default;
mod column_options;
mod computed;
mod ddl;
pub mod dialect;
mod emission;
pub mod errors;
mod failed_value;
mod function;
pub(crate) mod interval;
mod map_access;
mod multiset;
mod options;
mod outer_types;
pub mod parser;
mod partition_by;
mod peers;
mod reads;
mod result_size;
mod row_expr;
pub mod session;
mod session_batch;
mod session_groups;
mod source_text;
mod spelling;
mod subquery_levels;
mod table_clauses;
mod tables_read;
mod three_valued;
mod to_timestamp_ltz;
mod types;
mod watermark;
pub mod window;
mod window_arguments;
mod window_batch;
mod window_calls;
pub mod window_functions;
pub mod window_session;
pub mod window_tvf;
pub mod zone;

pub use arithmetic::{add_arithmetic, text_of};
pub use asof::{AsOfJoinNode, Direction, FilterBeforeAsOf, Matching, Tolerance, add_asof_joins};
pub(crate) use asof::{Wrong as WrongJoin, mark_joins, with_match_conditions, with_state_ttl};
pub use call::explained;
pub use ddl::metadata_type;
pub use errors::{nearest, not_read_by_name, planning_error, report};
pub(crate) use failed_value::at_large_result;
pub use failed_value::{Code, Written, at_failed_value};
pub use function::Functions;
pub use map_access::expr_planners;
pub use multiset::is_set_operation;
pub(crate) use options::{SESSION_MAX_LENGTH, STATE_TTL, TIME_COLUMN, format_of};
pub use outer_types::add_outer_types;
pub use parser::{parse_file, parse_statements};
pub use reads::{names_in, refuse_reads};
pub use result_size::add_result_limits;
pub(crate) use result_size::is_too_large;
pub(crate) use session_groups::bounds_of_window;
pub use session_groups::{SESSION_COLUMNS, has_sessions, with_sessions};
pub(crate) use source_text::SourceText;
pub(crate) use spelling::respell_alone;
pub(crate) use subquery_levels::{SUBQUERY_LEVELS_HINT, SUBQUERY_LEVELS_MAX, too_deep_message, too_deep_subquery};
pub use tables_read::tables_of;
pub use three_valued::add_three_valued_in;
pub use to_timestamp_ltz::add_to_timestamp_ltz;
pub(crate) use types::{StreamTypes, same_zone};
pub use window_batch::{ExpandWindowTvfs, expand_for_batch};
pub(crate) use window_batch::{ticks, time_unit};
pub(crate) use window_calls::{LENGTH_HINT, wrong_length};
pub use window_calls::{names_session, with_times};

/// Rows of a batch between operators.
const BATCH_ROWS: usize = 8192;

/// What makes plans of all sessions quick, without a rule that makes some of them wrong: where both sides of a join have a column of one
/// name, DataFusion 55 takes a condition below a projection by that name, to whichever side comes first. What its scans read of
/// conditions they are told before, while the plan is still logical.
pub fn physical_optimizer_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let rules = PhysicalOptimizer::new().rules.into_iter();
    rules.filter(|rule| !rule.name().starts_with("FilterPushdown")).collect()
}

/// What all sessions share, streaming and ad hoc alike.
pub fn session_config() -> SessionConfig {
    let mut options = ConfigOptions::new();
    options.sql_parser.collect_spans = true;
    options.sql_parser.enable_ident_normalization = true;
    options.sql_parser.map_string_types_to_utf8view = true;
    // Statistics of an epoch's leaf would be those of one epoch; plans must not depend on them.
    options.execution.collect_statistics = false;
    // Small epochs would pay for a shuffle that gains nothing.
    options.optimizer.enable_round_robin_repartition = false;
    // With subqueries upon one another it finds columns ambiguous that are not (DataFusion 55), also the hidden ones of a stream.
    options.optimizer.enable_leaf_expression_pushdown = false;
    // A plan that runs many times must not keep the filter of its first run. Set in code, the first does not imply the others.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    SessionConfig::from(options).with_batch_size(BATCH_ROWS)
}

/// Teaches a session window functions in FROM, as `TUMBLE(t, ts, size)`, and their grouping form, `tumble(ts, size)`.
///
/// What plans then hold is still to be rewritten: by [`ExpandWindowTvfs`] for bounded input, by the stream rewrite for streams.
pub fn add_window_functions(session: &SessionContext, watermarks: Arc<dyn WatermarkColumns>) -> Result<()> {
    let catalogs = Arc::clone(session.state_ref().read().catalog_list());
    session.register_relation_planner(Arc::new(WindowTvfPlanner::new(watermarks, catalogs)))?;
    for function in window_functions::window_functions() {
        session.register_udf(function);
    }
    session.add_analyzer_rule(Arc::new(window_functions::OnlyGroupedBy));
    Ok(())
}
