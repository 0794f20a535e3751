//! Expected threat: what holding the ball here is worth, and what moving it adds.

use crate::Function;
use crate::describe::describe;
use crate::scalar::numeric;

/// Probability of scoring within the next actions, by zone: 12 columns along x, and the upper 4 of 8 rows along y, which
/// the lower 4 mirror. Karun Singh, "Introducing Expected Threat (xT)", 2018, published grid `open_xt_12x8_v1`.
const GRID: [[f64; 12]; 4] = [
    [
        0.00638303, 0.00779616, 0.00844854, 0.00977659, 0.01126267, 0.01248344, 0.01473596, 0.0174506, 0.02122129,
        0.02756312, 0.03485072, 0.0379259,
    ],
    [
        0.00750072, 0.00878589, 0.00942382, 0.0105949, 0.01214719, 0.0138454, 0.01611813, 0.01870347, 0.02401521,
        0.02953272, 0.04066992, 0.04647721,
    ],
    [
        0.0088799, 0.00977745, 0.01001304, 0.01110462, 0.01269174, 0.01429128, 0.01685596, 0.01935132, 0.0241224,
        0.02855202, 0.05491138, 0.06442595,
    ],
    [
        0.00941056, 0.01082722, 0.01016549, 0.01132376, 0.01262646, 0.01484598, 0.01689528, 0.0199707, 0.02385149,
        0.03511326, 0.10805102, 0.25745362,
    ],
];

/// The zone's value; a place off the pitch counts as the nearest on it.
fn threat(x: f64, y: f64) -> f64 {
    let column = (x.clamp(0.0, 120.0) / 10.0) as usize;
    let row = ((y.clamp(0.0, 80.0) / 10.0) as usize).min(7);
    GRID[row.min(7 - row)][column.min(11)]
}

describe! {
    /// Threat of holding the ball at a place: the probability of a goal within the next actions.
    ///
    /// x, y: clamped to the pitch. Source: Karun Singh, "Introducing Expected Threat (xT)", 2018, published grid of 12 × 8 zones.
    XT = xt(x: Double, y: Double) -> "DOUBLE"
}

pub(crate) fn xt() -> Function {
    numeric(&XT, "", |_| true, |[x, y]| threat(x, y))
}

describe! {
    /// Threat at the end less threat at the start, as a probability of a goal: what moving the ball there is worth.
    ///
    /// Meant for completed passes and carries: give NULL for a failed one. Source: as `xt`.
    XT_ADDED = xt_added(x: Double, y: Double, end_x: Double, end_y: Double) -> "DOUBLE"
}

pub(crate) fn xt_added() -> Function {
    numeric(&XT_ADDED, "", |_| true, |[x, y, end_x, end_y]| threat(end_x, end_y) - threat(x, y))
}
