//! `INTERSECT` and `EXCEPT` of two streams: joins by all columns, which a window among these bounds.

use datafusion::logical_expr::{Join, LogicalPlan};

use super::interval;
use crate::error::Result;
use crate::plan::derive::{Derivation, Derived, Obstacle};
use crate::plan::{reads_stream, refuse};

/// A set operation with a stream on one of its sides.
pub(in crate::plan) fn set_operation(derivation: &mut Derivation<'_>, join: Join) -> Result<Derived, Obstacle> {
    let of_streams = reads_stream(&join.left, derivation.streams) && reads_stream(&join.right, derivation.streams);
    // With ALL it would have to be known how often a row has come to both sides.
    let is_all = !matches!(join.left.as_ref(), LogicalPlan::Distinct(_));
    if !of_streams || is_all {
        return Err(refuse::set_operation(&join).into());
    }
    let (number, sides) = interval::sides(derivation, &join)?;
    match have_a_window_in_common(&sides) {
        true => Ok(interval::of_sides(derivation, number, join, sides)?),
        false => Err(refuse::set_operation(&join).into()),
    }
}

/// Whether a bound of a window stands in the same place on both sides.
fn have_a_window_in_common(sides: &[Derived; 2]) -> bool {
    let bounds = sides.each_ref().map(|side| {
        let columns = side.edge.shown().map(|at| &side.edge.columns[at]);
        columns.map(|facts| facts.window.is_some() && facts.watermark.is_some()).collect::<Vec<_>>()
    });
    bounds[0].iter().zip(&bounds[1]).any(|(left, right)| *left && *right)
}
