//! SQL functions of Touchline's home domain, live football and its audience.
//!
//! One file per family; a new function is its file and one line in [`scalar_functions`] or [`aggregate_functions`].
//! All are immutable and row-wise over doubles. Unless a function says otherwise: NULL, NaN or infinite in any argument
//! gives NULL; words are compared without regard to case; an impossible value is an error that names the argument.
//!
//! Pitch frame: x 0 to 120, y 0 to 80, origin top left, the acting side always attacks towards x = 120.

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionContext;

mod momentum;
mod numeric;
mod possession;
mod sentiment;
mod word;
pub mod xg;
mod xt;

/// Every scalar function, by family.
pub fn scalar_functions() -> Vec<ScalarUDF> {
    vec![
        xg::xg(),
        xt::xt(),
        xt::xt_added(),
        momentum::action_weight(),
        momentum::momentum_index(),
        possession::field_tilt(),
        possession::possession_share(),
        possession::pass_completion(),
        possession::ppda(),
        sentiment::emoji_sentiment(),
        sentiment::engagement_rate(),
    ]
}

/// Every aggregate function.
pub fn aggregate_functions() -> Vec<AggregateUDF> {
    vec![xg::xg_at_least_one()]
}

/// Makes all functions known to a session.
pub fn register(context: &SessionContext) {
    scalar_functions().into_iter().for_each(|function| context.register_udf(function));
    aggregate_functions().into_iter().for_each(|function| context.register_udaf(function));
}

#[cfg(test)]
mod tests;
