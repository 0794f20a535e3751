//! Expected goals: how likely a shot from here becomes a goal.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err};

use crate::Function;
use crate::aggregate::{Fold, Shape, aggregate, typed};
use crate::describe::describe;
use crate::scalar::{by_row, scalar};

/// Half the width between the posts, metres.
const HALF_GOAL_M: f64 = 3.66;
/// Metres per unit of the frame: a pitch of 105 m by 68 m.
const X_TO_M: f64 = 105.0 / 120.0;
const Y_TO_M: f64 = 68.0 / 80.0;

/// The model of a shot: who plays the ball with what, and from which situation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShotModel {
    OpenFoot,
    OpenHead,
    FreeKick,
    Penalty,
}

impl ShotModel {
    /// Any body part but the head counts as a foot, any type but the two set pieces as open play.
    fn of(body_part: Option<&str>, shot_type: Option<&str>) -> Self {
        let is = |word: Option<&str>, other: &str| word.is_some_and(|word| word.eq_ignore_ascii_case(other));
        if is(shot_type, "penalty") {
            ShotModel::Penalty
        } else if is(shot_type, "free_kick") {
            ShotModel::FreeKick
        } else if is(body_part, "head") {
            ShotModel::OpenHead
        } else {
            ShotModel::OpenFoot
        }
    }
}

/// The probability, 0 to 1, that a shot from (`x`, `y`) is a goal; the place is clamped to the pitch.
///
/// Logistic in the distance d (metres) to the middle of the goal and the angle a (radians) between its posts, fitted by
/// maximum likelihood on the 43,078 open-play shots and 2,209 direct free kicks of the public Wyscout events
/// (Pappalardo et al., Scientific Data 6:236, 2019, CC BY 4.0):
/// open play z = -1.044484 - 0.108908 d + 1.574193 a - 0.995994 (head), free kick z = -0.610035 - 0.076005 d,
/// xg = 1 / (1 + exp(-z)); a penalty is 0.76.
pub fn expected_goals(x: f64, y: f64, model: ShotModel) -> f64 {
    let across = (y.clamp(0.0, 80.0) - 40.0).abs() * Y_TO_M;
    let along = (120.0 - x.clamp(0.0, 120.0)) * X_TO_M;
    let distance = (along * along + across * across).sqrt();
    let z = match model {
        ShotModel::Penalty => return 0.76,
        ShotModel::FreeKick => -0.610035 - 0.076005 * distance,
        ShotModel::OpenFoot | ShotModel::OpenHead => {
            // atan2 of a non-negative height lies in 0..=π: wider than a right angle close to the line needs no more care.
            let angle = (2.0 * HALF_GOAL_M * along).atan2(along * along + across * across - HALF_GOAL_M * HALF_GOAL_M);
            let head = if model == ShotModel::OpenHead { 0.995994 } else { 0.0 };
            -1.044484 - 0.108908 * distance + 1.574193 * angle - head
        }
    };
    1.0 / (1.0 + (-z).exp())
}

describe! {
    /// The probability, 0 to 1, that a shot from this place is a goal.
    ///
    /// x, y: where it is taken, clamped to the pitch. body_part: `head`, else a foot. shot_type: `free_kick` (a direct one),
    /// `penalty`, else open play. NULL x or y gives NULL; a NULL body part is a foot, a NULL type open play.
    ///
    /// Logistic in the distance d (metres) to the middle of the goal and the angle a (radians) between its posts:
    /// open play z = -1.044484 - 0.108908 d + 1.574193 a - 0.995994 (head), free kick z = -0.610035 - 0.076005 d,
    /// xg = 1 / (1 + exp(-z)); a penalty is 0.76. Source: our fit by maximum likelihood on the 43,078 open-play shots and 2,209
    /// direct free kicks of the public Wyscout events (Pappalardo et al., Scientific Data 6:236, 2019, CC BY 4.0).
    XG = xg(x: Double, y: Double; body_part: Varchar, shot_type: Varchar) -> "DOUBLE"
}

pub(crate) fn xg() -> Function {
    scalar(&XG, DataType::Float64, |arguments| {
        let (x, y) = (arguments.doubles(0)?, arguments.doubles(1)?);
        let (body_part, shot_type) = (arguments.words(2)?, arguments.words(3)?);
        let place = |row| {
            let (x, y) = (x.get(row)?, y.get(row)?);
            (x.is_finite() && y.is_finite()).then_some((x, y))
        };
        if body_part.is_constant() && shot_type.is_constant() {
            let model = ShotModel::of(body_part.get(0), shot_type.get(0));
            return Ok(by_row(arguments.rows, |row| place(row).map(|(x, y)| expected_goals(x, y, model))));
        }
        Ok(by_row(arguments.rows, |row| {
            let (x, y) = place(row)?;
            Some(expected_goals(x, y, ShotModel::of(body_part.get(row), shot_type.get(row))))
        }))
    })
}

describe! {
    /// The probability, 0 to 1, that at least one of these shots is a goal: 1 - ∏(1 - xg), shots being independent.
    ///
    /// NULL and non-finite values are passed over; without values it is 0. A value outside 0..1 is an error.
    XG_AT_LEAST_ONE = xg_at_least_one(xg: Double) -> "DOUBLE"
}

pub(crate) fn xg_at_least_one() -> Function {
    let shape = Shape {
        returns: DataType::Float64,
        state: vec![("no_goal", DataType::Float64)],
        constants: &[],
        empty: ScalarValue::from(0.0),
    };
    aggregate(&XG_AT_LEAST_ONE, shape, |_, _| Ok(AtLeastOne))
}

#[derive(Debug, Clone)]
struct AtLeastOne;

/// The probability that no shot so far was a goal.
#[derive(Debug, Clone, Copy)]
struct NoGoal(f64);

impl Default for NoGoal {
    fn default() -> Self {
        NoGoal(1.0)
    }
}

impl Fold for AtLeastOne {
    type State = NoGoal;
    type Rows = Float64Array;

    fn rows(&self, arguments: &[ArrayRef]) -> Result<Float64Array> {
        typed("xg_at_least_one", arguments, 0)
    }

    fn add(&self, state: &mut NoGoal, rows: &Float64Array, row: usize) -> Result<usize> {
        if rows.is_valid(row) && rows.value(row).is_finite() {
            let value = rows.value(row);
            if !(0.0..=1.0).contains(&value) {
                return exec_err!("xg_at_least_one: xg is {value}; it is a probability, 0 to 1");
            }
            state.0 *= 1.0 - value;
        }
        Ok(0)
    }

    fn merge(&self, state: &mut NoGoal, columns: &[ArrayRef], row: usize) -> Result<usize> {
        state.0 *= columns[0].as_primitive::<Float64Type>().value(row);
        Ok(0)
    }

    fn state(&self, states: &[NoGoal]) -> Result<Vec<ArrayRef>> {
        let values: Float64Array = states.iter().map(|state| Some(state.0)).collect();
        Ok(vec![Arc::new(values)])
    }

    fn values(&self, states: &[NoGoal]) -> Result<ArrayRef> {
        let values: Float64Array = states.iter().map(|state| Some(1.0 - state.0)).collect();
        Ok(Arc::new(values))
    }
}
