//! SQL functions of Touchline's home domain, live football and its audience, and those that look into JSON.
//!
//! One file per family. A new function is a [`describe`](describe::describe) with its doc comment, a constructor beside it,
//! and one line in [`functions`]; tests, documentation and `README.md` follow from there.
//!
//! All are immutable. Unless a function says otherwise: NULL, NaN or infinite in any argument gives NULL; words are compared
//! without regard to case; an impossible value is an error that names the argument.
//!
//! Pitch frame: x 0 to 120, y 0 to 80, origin top left, the acting side always attacks towards x = 120.

use std::sync::Arc;

use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionContext;

mod aggregate;
pub mod describe;
mod engagement;
mod heatmap;
pub mod json;
mod momentum;
mod player;
mod possession;
mod scalar;
mod win;
mod word;
pub mod xg;
mod xt;

use describe::Description;

/// A function and what is said of it.
#[derive(Debug, Clone)]
pub enum Function {
    Scalar(&'static Description, ScalarUDF),
    Aggregate(&'static Description, AggregateUDF),
}

/// The registry: every function, in the order in which `README.md` lists them.
pub fn functions() -> Vec<Function> {
    vec![
        xg::xg(),
        xg::xg_at_least_one(),
        xt::xt(),
        xt::xt_added(),
        win::win_probability(),
        momentum::action_weight(),
        momentum::decayed_sum(),
        momentum::momentum_index(),
        possession::field_tilt(),
        possession::possession_share(),
        possession::pass_completion(),
        possession::ppda(),
        heatmap::heatmap(),
        player::live_rating(),
        player::fpl_points(),
        engagement::emoji_sentiment(),
        engagement::engagement_rate(),
        engagement::poisson_z(),
        engagement::uplift_smoothed(),
        json::json_object_field(),
        json::json_object_field_text(),
        json::json_array_element(),
        json::json_array_element_text(),
        json::json_value(),
        json::json_query(),
        json::json_exists(),
        json::json_array_length(),
        json::json_typeof(),
    ]
}

impl Function {
    pub fn description(&self) -> &'static Description {
        match self {
            Function::Scalar(description, _) | Function::Aggregate(description, _) => description,
        }
    }
}

/// Makes all functions known to a session, and the operators that stand for some of them.
pub fn register(context: &SessionContext) {
    // It takes every planner; the result is the trait's.
    let _ = context.state_ref().write().register_expr_planner(Arc::new(json::JsonOperators::new()));
    for function in functions() {
        match function {
            Function::Scalar(_, function) => context.register_udf(function),
            Function::Aggregate(_, function) => context.register_udaf(function),
        }
    }
}

#[cfg(test)]
mod tests;
