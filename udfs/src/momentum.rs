//! Who has the upper hand: weights of actions, and the index made from both sides' sums.

use datafusion::logical_expr::ScalarUDF;

use crate::numeric::OfNumbers;
use crate::word::{OfWord, look_up};

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

/// `action_weight(event_type) → DOUBLE`: how much an action says for the acting side; 0 for any other word.
pub(crate) fn action_weight() -> ScalarUDF {
    OfWord::udf("action_weight", "event_type", |word| Some(look_up(&WEIGHTS, word).unwrap_or(0.0)))
}

/// `momentum_index(home, away) → DOUBLE`: (home - away) / (home + away + 1) of the sides' weighted sums.
///
/// Within -1..1 as long as neither sum is negative. Red cards can make one so: where home + away + 1 is not positive,
/// the index says nothing and is NULL; otherwise it is clamped to -1..1.
pub(crate) fn momentum_index() -> ScalarUDF {
    OfNumbers::udf("momentum_index", ["home", "away"], |[home, away]| {
        let whole = home + away + 1.0;
        Ok((whole > 0.0).then(|| ((home - away) / whole).clamp(-1.0, 1.0)))
    })
}
