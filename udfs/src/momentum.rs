//! Who has the upper hand: weights of actions, their fading sum, and the index made from both sides' sums.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};

use crate::Function;
use crate::aggregate::{Fold, Shape, aggregate, typed};
use crate::describe::describe;
use crate::scalar::numeric;
use crate::word::{look_up, of_word};

/// Our own choice, in the order of published momentum charts: nearness to a goal weighs most.
const WEIGHTS: [(&str, f64); 8] = [
    ("goal", 5.0),
    ("penalty", 4.0),
    ("shot_on_target", 3.0),
    ("shot", 2.0),
    ("corner", 1.0),
    ("final_third_entry", 0.5),
    ("free_kick", 0.5),
    ("red_card", -3.0),
];

describe! {
    /// How much an action says for the side that acts: goal 5, penalty 4, shot_on_target 3, shot 2, corner 1,
    /// final_third_entry and free_kick 0.5, red_card -3.
    ///
    /// Any other word is 0; NULL is NULL. Source: our choice, in the order of published momentum charts.
    ACTION_WEIGHT = action_weight(event_type: Varchar) -> "DOUBLE"
}

pub(crate) fn action_weight() -> Function {
    of_word(&ACTION_WEIGHT, |word| Some(look_up(&WEIGHTS, word).unwrap_or(0.0)))
}

describe! {
    /// Which side has the momentum, -1 (away) to 1 (home): (home - away) / (home + away + 1) of both sides' weighted sums.
    ///
    /// NULL where either sum is NULL. Red cards can make a sum negative: where home + away + 1 is not positive the index
    /// says nothing and is NULL, else it is clamped to -1..1. Source: our definition; the 1 keeps a single early action from
    /// being everything.
    MOMENTUM_INDEX = momentum_index(home: Double, away: Double) -> "DOUBLE"
}

pub(crate) fn momentum_index() -> Function {
    numeric(
        &MOMENTUM_INDEX,
        "",
        |_| true,
        |[home, away]| {
            let whole = home + away + 1.0;
            let index = ((home - away) / whole).clamp(-1.0, 1.0);
            if whole > 0.0 { index } else { f64::NAN }
        },
    )
}

describe! {
    /// The sum of values that fade with their age: each counts value × 2^(-age / half_life), its age in seconds as of the
    /// latest event_time in the group.
    ///
    /// half_life: seconds, a constant above 0. A row whose value is NULL or not finite adds nothing, but its event_time counts:
    /// so two sums over the same rows, one for each side, are as of the same moment. A row that FILTER takes out does not
    /// count at all. A NULL event_time is passed over; without values the sum is 0.
    ///
    /// To see the sum as of a later moment, multiply: `decayed_sum(v, ts, 150) * power(0.5, seconds_later / 150)`.
    /// Source: exponential decay; the answer does not depend on the order of rows.
    DECAYED_SUM = decayed_sum(value: Double, event_time: Timestamp, half_life: Double) -> "DOUBLE"
}

pub(crate) fn decayed_sum() -> Function {
    let shape = Shape {
        returns: DataType::Float64,
        state: vec![("sum", DataType::Float64), ("at", DataType::Int64)],
        constants: &[2],
        empty: ScalarValue::from(0.0),
    };
    aggregate(&DECAYED_SUM, shape, |constants, types| {
        let half_life = match constants {
            [value] => value.cast_to(&DataType::Float64)?,
            _ => return plan_err!("decayed_sum: half_life is missing"),
        };
        let half_life = match half_life {
            ScalarValue::Float64(Some(value)) if value.is_finite() && value > 0.0 => value,
            other => return plan_err!("decayed_sum: half_life is {other}; it is a number of seconds above 0"),
        };
        let ticks = match types.get(1) {
            Some(DataType::Timestamp(TimeUnit::Second, _)) => 1.0,
            Some(DataType::Timestamp(TimeUnit::Millisecond, _)) => 1e3,
            Some(DataType::Timestamp(TimeUnit::Nanosecond, _)) => 1e9,
            _ => 1e6,
        };
        Ok(DecayedSum { half_lives_per_tick: 1.0 / (half_life * ticks) })
    })
}

#[derive(Debug, Clone)]
struct DecayedSum {
    half_lives_per_tick: f64,
}

/// The sum as of a moment.
#[derive(Debug, Clone, Copy, Default)]
struct Decayed {
    sum: f64,
    at: Option<i64>,
}

impl DecayedSum {
    fn weight(&self, from: i64, to: i64) -> f64 {
        (-(to.abs_diff(from) as f64) * self.half_lives_per_tick).exp2()
    }

    fn merge_one(&self, state: &mut Decayed, sum: f64, at: i64) {
        match state.at {
            Some(latest) if at < latest => state.sum += sum * self.weight(at, latest),
            Some(latest) if at == latest => state.sum += sum,
            Some(latest) => *state = Decayed { sum: state.sum * self.weight(latest, at) + sum, at: Some(at) },
            None => *state = Decayed { sum, at: Some(at) },
        }
    }
}

impl Fold for DecayedSum {
    type State = Decayed;
    type Rows = (Float64Array, Int64Array);

    fn rows(&self, arguments: &[ArrayRef]) -> Result<Self::Rows> {
        let times = match arguments.get(1) {
            Some(times) => cast(times, &DataType::Int64)?,
            None => return exec_err!("decayed_sum: event_time is missing"),
        };
        Ok((typed("decayed_sum", arguments, 0)?, times.as_primitive::<Int64Type>().clone()))
    }

    fn add(&self, state: &mut Decayed, (values, times): &Self::Rows, row: usize) -> Result<usize> {
        if times.is_valid(row) {
            let value = if values.is_valid(row) { values.value(row) } else { 0.0 };
            let value = if value.is_finite() { value } else { 0.0 };
            self.merge_one(state, value, times.value(row));
        }
        Ok(0)
    }

    fn merge(&self, state: &mut Decayed, columns: &[ArrayRef], row: usize) -> Result<usize> {
        let (sums, times) = (columns[0].as_primitive::<Float64Type>(), columns[1].as_primitive::<Int64Type>());
        if times.is_valid(row) {
            self.merge_one(state, sums.value(row), times.value(row));
        }
        Ok(0)
    }

    fn state(&self, states: &[Decayed]) -> Result<Vec<ArrayRef>> {
        let sums: Float64Array = states.iter().map(|state| Some(state.sum)).collect();
        let times: Int64Array = states.iter().map(|state| state.at).collect();
        Ok(vec![Arc::new(sums), Arc::new(times)])
    }

    fn values(&self, states: &[Decayed]) -> Result<ArrayRef> {
        let sums: Vec<f64> = states.iter().map(|state| state.sum).collect();
        // Values near the largest of all numbers can add up to infinity.
        let finite = BooleanBuffer::collect_bool(sums.len(), |at| sums[at].is_finite());
        let nulls = Some(NullBuffer::new(finite)).filter(|nulls| nulls.null_count() > 0);
        Ok(Arc::new(Float64Array::new(sums.into(), nulls)))
    }
}
