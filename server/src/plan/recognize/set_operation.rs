//! `INTERSECT` and `EXCEPT` of two streams: joins by all columns, which a window among these bounds.

use datafusion::common::JoinType;
use datafusion::logical_expr::{Distinct, Join, LogicalPlan};

use super::{distinct, interval};
use crate::error::{Error, Result};
use crate::plan::derive::{Derivation, Derived, Obstacle};
use crate::plan::edge::{Edge, WindowForm};
use crate::plan::{reads_stream, refuse};

/// A set operation with a stream on one of its sides.
pub(in crate::plan) fn set_operation(derivation: &mut Derivation<'_>, join: Join) -> Result<Derived, Obstacle> {
    let of_streams = reads_stream(&join.left, derivation.streams) && reads_stream(&join.right, derivation.streams);
    let lacks_window: fn(&Edge) -> Error = match join.join_type {
        JoinType::LeftAnti => refuse::except,
        _ => refuse::intersect,
    };
    // With ALL, which leaves out the DISTINCT, it would have to be known how often a row has come to both sides.
    let distinct_rows = match join.left.as_ref() {
        LogicalPlan::Distinct(Distinct::All(rows)) if of_streams => rows.as_ref().clone(),
        LogicalPlan::Distinct(_) => return Err(refuse::set_operation(join.join_type, false).into()),
        _ => return Err(refuse::set_operation(join.join_type, true).into()),
    };
    let number = interval::next_number(derivation);
    let left = distinct::all(derivation, distinct_rows, lacks_window)?;
    let right = derivation.node(join.right.as_ref().clone(), WindowForm::Row)?;
    let sides = [left, right];
    match have_a_window_in_common(&sides) {
        true => Ok(interval::of_sides(derivation, number, join, sides)?),
        false => Err(lacks_window(&sides[1].edge).into()),
    }
}

/// Whether a bound of a window stands in the same place on both sides.
fn have_a_window_in_common(sides: &[Derived; 2]) -> bool {
    let [left, right] = sides.each_ref().map(|side| {
        let columns = side.edge.shown().map(|at| &side.edge.columns[at]);
        columns.map(|facts| facts.window.is_some() && facts.watermark.is_some()).collect::<Vec<_>>()
    });
    left.iter().zip(&right).any(|(left, right)| *left && *right)
}
