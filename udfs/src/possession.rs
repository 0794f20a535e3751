//! Shares of the ball: territory, possession, passing, pressing. All take counts, which cannot be negative.

use crate::Function;
use crate::describe::{Description, describe};
use crate::scalar::numeric;

describe! {
    /// Own passes in the final third (x ≥ 80) among both sides', 0 to 1.
    ///
    /// NULL where neither side has any; a negative count is an error. Source: the usual definition of field tilt.
    FIELD_TILT = field_tilt(own: Double, opponent: Double) -> "DOUBLE"
}

pub(crate) fn field_tilt() -> Function {
    share(&FIELD_TILT)
}

describe! {
    /// Own passes, or seconds on the ball, among both sides', 0 to 1.
    ///
    /// NULL where neither side has any; a negative count is an error. Source: the usual definition.
    POSSESSION_SHARE = possession_share(own: Double, opponent: Double) -> "DOUBLE"
}

pub(crate) fn possession_share() -> Function {
    share(&POSSESSION_SHARE)
}

/// 0 / 0 is not a number, which is NULL.
fn share(description: &'static Description) -> Function {
    numeric(
        description,
        "own and opponent are counts and cannot be negative",
        |[own, opponent]| (own >= 0.0) & (opponent >= 0.0),
        |[own, opponent]| own / (own + opponent),
    )
}

describe! {
    /// Completed passes among those attempted, 0 to 1.
    ///
    /// NULL where none was attempted; fewer than 0 or more than attempted completed is an error. Source: the usual definition.
    PASS_COMPLETION = pass_completion(completed: Double, attempted: Double) -> "DOUBLE"
}

pub(crate) fn pass_completion() -> Function {
    numeric(
        &PASS_COMPLETION,
        "completed lies between 0 and attempted",
        |[completed, attempted]| (completed >= 0.0) & (completed <= attempted),
        |[completed, attempted]| completed / attempted,
    )
}

describe! {
    /// Passes that the opponent may play per defensive action of ours: low is intense pressing.
    ///
    /// opponent_passes: from the opponent's own 60 % of the pitch (x < 72 in its frame). defensive_actions: tackles,
    /// interceptions and fouls of the pressing side at x ≥ 48 in its own frame. NULL without a defensive action; a negative
    /// count is an error. Source: the PPDA of Wyscout's glossary.
    PPDA = ppda(opponent_passes: Double, defensive_actions: Double) -> "DOUBLE"
}

pub(crate) fn ppda() -> Function {
    numeric(
        &PPDA,
        "opponent_passes and defensive_actions are counts and cannot be negative",
        |[passes, actions]| (passes >= 0.0) & (actions >= 0.0),
        |[passes, actions]| passes / actions,
    )
}
