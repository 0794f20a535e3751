//! `DISTINCT` and `UNION`: a grouping by all columns, which is final where a window is among them.

use std::sync::Arc;

use datafusion::functions_aggregate::first_last::first_value;
use datafusion::logical_expr::{Aggregate, Distinct, DistinctOn, Expr, LogicalPlan, Projection, Union};

use super::window;
use crate::error::{Error, Result};
use crate::plan::derive::{Derivation, Derived, Obstacle, column_at};
use crate::plan::edge::Edge;
use crate::plan::expression::place_of;
use crate::plan::refuse;

/// DISTINCT over a stream.
pub(in crate::plan) fn distinct(derivation: &mut Derivation<'_>, distinct: Distinct) -> Result<Derived, Obstacle> {
    match distinct {
        Distinct::All(input) => {
            let lacks_window: fn(&Edge) -> Error = match input.as_ref() {
                LogicalPlan::Union(_) => refuse::union,
                _ => refuse::distinct,
            };
            all(derivation, Arc::unwrap_or_clone(input), lacks_window)
        }
        Distinct::On(on) => Ok(first_of_each(derivation, on)?),
    }
}

/// Each of the rows of `input` once. `lacks_window`: what to say where no window is among their columns.
pub(in crate::plan) fn all(
    derivation: &mut Derivation<'_>,
    input: LogicalPlan,
    lacks_window: fn(&Edge) -> Error,
) -> Result<Derived, Obstacle> {
    let input = without_distinct_branches(input);
    let columns = input.schema().columns().into_iter().map(Expr::Column).collect();
    let aggregate = Aggregate::try_new(Arc::new(input), columns, vec![])?;
    Ok(window::grouped(derivation, aggregate, lacks_window)?)
}

/// What is made distinct as a whole need not be so before: a UNION of a UNION is one UNION.
fn without_distinct_branches(input: LogicalPlan) -> LogicalPlan {
    match input {
        LogicalPlan::Union(Union { inputs, schema }) => {
            let inputs = inputs.into_iter().map(|input| match input.as_ref() {
                LogicalPlan::Distinct(Distinct::All(of)) => Arc::new(without_distinct_branches(of.as_ref().clone())),
                _ => input,
            });
            LogicalPlan::Union(Union { inputs: inputs.collect(), schema })
        }
        other => other,
    }
}

/// `DISTINCT ON (…) … ORDER BY`: of each group the first row.
fn first_of_each(derivation: &mut Derivation<'_>, distinct: DistinctOn) -> Result<Derived> {
    let DistinctOn { on_expr, select_expr, sort_expr, input, schema } = distinct;
    // All rows of a group agree in what it is grouped by.
    let mut order = sort_expr.unwrap_or_default();
    order.retain(|term| !on_expr.contains(&term.expr));
    if order.is_empty() {
        let error =
            Error::invalid("DISTINCT ON over a stream needs an order: which row is the first one of those that agree")
                .hint("SELECT DISTINCT ON (window_start, k) … ORDER BY window_start, k, ts");
        return Err(match place_of(&on_expr) {
            Some(place) => error.at(place),
            None => error,
        });
    }
    let of_group = |expr: &Expr| on_expr.iter().position(|group| *group == expr.clone().unalias());
    let (mut firsts, mut places) = (Vec::new(), Vec::new());
    for expr in &select_expr {
        places.push(of_group(expr).unwrap_or_else(|| {
            let first = first_value(expr.clone().unalias(), order.clone());
            let known = firsts.iter().position(|known| *known == first);
            on_expr.len()
                + known.unwrap_or_else(|| {
                    firsts.push(first);
                    firsts.len() - 1
                })
        }));
    }
    let aggregate = Aggregate::try_new(input, on_expr, firsts)?;
    let Derived { plan, edge, explain } = window::grouped(derivation, aggregate, refuse::distinct_on)?;
    let fields = places.iter().zip(schema.iter());
    let exprs = fields.map(|(at, (qualifier, field))| {
        Expr::Column(column_at(plan.schema(), *at)).alias_qualified(qualifier.cloned(), field.name())
    });
    let exprs = exprs.collect();
    let edge = edge.with_columns(places.iter().map(|at| edge.columns[*at].clone()).collect(), None);
    let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
    Ok(Derived { explain: explain.with_times(&edge, plan.schema()), plan, edge })
}
