//! Shares of the ball: territory, possession, passing, pressing. All take counts, which cannot be negative.

use datafusion::logical_expr::ScalarUDF;

use crate::numeric::{OfNumbers, RowResult};

fn share(part: f64, other: f64) -> RowResult {
    if part < 0.0 || other < 0.0 {
        return Err("own and opponent are counts and cannot be negative");
    }
    let whole = part + other;
    Ok((whole > 0.0).then(|| part / whole))
}

/// `field_tilt(own, opponent) → DOUBLE`: own passes in the final third (x ≥ 80) among both sides', 0 to 1.
///
/// NULL where neither side has any.
pub(crate) fn field_tilt() -> ScalarUDF {
    OfNumbers::udf("field_tilt", ["own", "opponent"], |[own, opponent]| share(own, opponent))
}

/// `possession_share(own, opponent) → DOUBLE`: own passes (or seconds on the ball) among both sides', 0 to 1.
///
/// NULL where neither side has any.
pub(crate) fn possession_share() -> ScalarUDF {
    OfNumbers::udf("possession_share", ["own", "opponent"], |[own, opponent]| share(own, opponent))
}

/// `pass_completion(completed, attempted) → DOUBLE`: completed passes among those attempted, 0 to 1.
///
/// NULL where none was attempted; more completed than attempted is an error.
pub(crate) fn pass_completion() -> ScalarUDF {
    OfNumbers::udf("pass_completion", ["completed", "attempted"], |[completed, attempted]| {
        if completed < 0.0 || completed > attempted {
            return Err("completed lies between 0 and attempted");
        }
        Ok((attempted > 0.0).then(|| completed / attempted))
    })
}

/// `ppda(opponent_passes, defensive_actions) → DOUBLE`: passes the opponent may play per defensive action of ours.
///
/// Opponent passes from their own 60 % of the pitch (x < 72 in their frame) per tackle, interception and foul of the
/// pressing side at x ≥ 48 in its frame; low is intense. NULL without a defensive action.
pub(crate) fn ppda() -> ScalarUDF {
    OfNumbers::udf("ppda", ["opponent_passes", "defensive_actions"], |[passes, actions]| {
        if passes < 0.0 || actions < 0.0 {
            return Err("opponent_passes and defensive_actions are counts and cannot be negative");
        }
        Ok((actions > 0.0).then(|| passes / actions))
    })
}
