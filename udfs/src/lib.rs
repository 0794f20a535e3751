//! SQL functions of Touchline's home domain, live football and its audience.
//!
//! One file per family. A new function is a [`describe`](describe::describe) with its doc comment, a constructor beside it,
//! and one line in [`functions`]; tests, documentation and `README.md` follow from there.
//!
//! All are immutable. Unless a function says otherwise: NULL, NaN or infinite in any argument gives NULL; words are compared
//! without regard to case; an impossible value is an error that names the argument.
//!
//! Pitch frame: x 0 to 120, y 0 to 80, origin top left, the acting side always attacks towards x = 120.

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionContext;

mod aggregate;
pub mod describe;
mod engagement;
mod heatmap;
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
    ]
}

impl Function {
    pub fn description(&self) -> &'static Description {
        match self {
            Function::Scalar(description, _) | Function::Aggregate(description, _) => description,
        }
    }
}

/// Makes all functions known to a session.
pub fn register(context: &SessionContext) {
    for function in functions() {
        match function {
            Function::Scalar(_, function) => context.register_udf(function),
            Function::Aggregate(_, function) => context.register_udaf(function),
        }
    }
}

#[cfg(test)]
mod tests;
