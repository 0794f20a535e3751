//! Expected goals: how likely a shot from here becomes a goal.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, TypeSignature, Volatility,
};

use crate::numeric::{by_row, over_columns};

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
    let distance = along.hypot(across);
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

/// `xg(x, y [, body_part [, shot_type]]) → DOUBLE`: see [`expected_goals`].
///
/// NULL or non-finite x or y gives NULL; a NULL body part is a foot, a NULL type open play.
pub(crate) fn xg() -> ScalarUDF {
    let (number, word) = (DataType::Float64, DataType::Utf8View);
    let arguments = [number.clone(), number, word.clone(), word];
    let signatures = (2..=4).map(|count| TypeSignature::Exact(arguments[..count].to_vec())).collect();
    ScalarUDF::from(Xg { signature: Signature::one_of(signatures, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Xg {
    signature: Signature,
}

impl ScalarUDFImpl for Xg {
    fn name(&self) -> &str {
        "xg"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_columns("xg", &arguments.args, |columns| {
            let [x, y] = [0, 1].map(|at| columns[at].as_primitive::<Float64Type>());
            let [body_part, shot_type] = [2, 3].map(|at| columns.get(at).map(|column| column.as_string_view()));
            by_row(x.len(), |row| {
                if x.is_null(row) || y.is_null(row) || !x.value(row).is_finite() || !y.value(row).is_finite() {
                    return Ok(None);
                }
                let model = ShotModel::of(
                    body_part.filter(|column| column.is_valid(row)).map(|column| column.value(row)),
                    shot_type.filter(|column| column.is_valid(row)).map(|column| column.value(row)),
                );
                Ok(Some(expected_goals(x.value(row), y.value(row), model)))
            })
        })
    }
}

/// `xg_at_least_one(xg) → DOUBLE`: the probability of at least one goal from independent shots, 1 - ∏(1 - xg).
///
/// NULL and non-finite values are passed over; without values 0. A value outside 0..1 is an error.
pub(crate) fn xg_at_least_one() -> AggregateUDF {
    AggregateUDF::from(XgAtLeastOne { signature: Signature::exact(vec![DataType::Float64], Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct XgAtLeastOne {
    signature: Signature,
}

impl AggregateUDFImpl for XgAtLeastOne {
    fn name(&self) -> &str {
        "xg_at_least_one"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(NoGoal(1.0)))
    }

    fn default_value(&self, _data_type: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(Some(0.0)))
    }
}

/// The probability that no shot so far was a goal; it is the state, too, and merges by multiplication in any order.
#[derive(Debug)]
struct NoGoal(f64);

impl Accumulator for NoGoal {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in present(values[0].as_primitive::<Float64Type>()).filter(|value| value.is_finite()) {
            if !(0.0..=1.0).contains(&value) {
                return exec_err!("xg_at_least_one: xg is {value}; it is a probability, 0 to 1");
            }
            self.0 *= 1.0 - value;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0 *= present(states[0].as_primitive::<Float64Type>()).product::<f64>();
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Float64(Some(self.0))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(Some(1.0 - self.0)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

fn present(values: &Float64Array) -> impl Iterator<Item = f64> + '_ {
    values.iter().flatten()
}
