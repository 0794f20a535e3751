//! `IN` and `NOT IN` with NULLs: of what is unknown SQL says neither that it is in a set nor that it is not.
//!
//! DataFusion's joins know this only of a `NOT IN` that is a conjunct of a WHERE by itself and whose subquery is not correlated. A
//! rule puts EXISTS in the place of the others, over the rows that are equal, or over those that are not known to differ. The shape is
//! that of DataFusion's own rule for `= ANY` and `<> ALL`.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, lit, when};
use datafusion::optimizer::AnalyzerRule;

/// Makes a session know what is unknown.
pub fn add_three_valued_in(session: &SessionContext) {
    session.add_analyzer_rule(Arc::new(ThreeValuedIn));
}

/// Runs after the coercion of types: both sides of a comparison have one.
#[derive(Debug, Default, Clone, Copy)]
struct ThreeValuedIn;

impl AnalyzerRule for ThreeValuedIn {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Filter(filter) if has_in(&filter.predicate) => {
                let predicate = rewritten(filter.predicate, Place::Conjunct, filter.input.schema())?;
                Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
            }
            LogicalPlan::Join(mut join) if join.filter.as_ref().is_some_and(has_in) => {
                let pair = merge_schema(&[&join.left, &join.right]);
                join.filter = join.filter.map(|filter| rewritten(filter, Place::Conjunct, &pair)).transpose()?;
                Ok(Transformed::yes(LogicalPlan::Join(join)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(rewritten.data)
    }

    fn name(&self) -> &str {
        "three_valued_in"
    }
}

/// Where in a predicate an expression stands, which says what the predicate sees of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is one of those that all have to be true.
    Conjunct,
    /// Below AND and OR alone: unknown is as good as false.
    Condition,
    /// Anywhere else.
    Value,
}

fn has_in(predicate: &Expr) -> bool {
    let mut found = false;
    let walked = predicate.apply(|expr| {
        found |= matches!(expr, Expr::InSubquery(_));
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    debug_assert!(walked.is_ok(), "the closure raises no error");
    found
}

/// `outer`: the rows that the predicate is about.
fn rewritten(expr: Expr, place: Place, outer: &DFSchema) -> Result<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right })
            if place != Place::Value =>
        {
            let below = if op == Operator::And { place } else { Place::Condition };
            let (left, right) = (rewritten(*left, below, outer)?, rewritten(*right, below, outer)?);
            Ok(Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) }))
        }
        Expr::InSubquery(membership) => in_subquery(membership, place, outer),
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                in_subquery(InSubquery { expr, subquery, negated: !negated }, place, outer)
            }
            other => Ok(Expr::Not(Box::new(rewritten(other, Place::Value, outer)?))),
        },
        other => {
            let value = |expr| Ok(Transformed::yes(rewritten(expr, Place::Value, outer)?));
            Ok(other.map_children(value)?.data)
        }
    }
}

fn in_subquery(membership: InSubquery, place: Place, outer: &DFSchema) -> Result<Expr> {
    let is_correlated = !membership.subquery.outer_ref_columns.is_empty();
    // Columns of a query further out, or some rows for each of these: DataFusion plans neither, and says so.
    if membership.expr.contains_outer() || (is_correlated && limits_what_is_correlated(&membership.subquery.subquery)) {
        return Ok(Expr::InSubquery(membership));
    }
    match (membership.negated, place) {
        (false, Place::Conjunct | Place::Condition) => Ok(Expr::InSubquery(membership)),
        (true, Place::Conjunct) if !is_correlated && membership.expr.any_column_refs() => {
            Ok(Expr::InSubquery(membership))
        }
        (true, Place::Conjunct | Place::Condition) => exists(&membership, Expr::is_not_false, true, outer),
        (negated, Place::Value) => {
            let is_in = exists(&membership, Expr::is_true, false, outer)?;
            let may_be_in = exists(&membership, Expr::is_not_false, false, outer)?;
            when(is_in, lit(!negated)).when(may_be_in, lit(ScalarValue::Boolean(None))).otherwise(lit(negated))
        }
    }
}

fn limits_what_is_correlated(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let walked = plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Limit(_)) && !node.all_out_ref_exprs().is_empty();
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    debug_assert!(walked.is_ok(), "the closure raises no error");
    found
}

/// Whether there is a row of the subquery of which the comparison says `verdict`.
fn exists(membership: &InSubquery, verdict: fn(Expr) -> Expr, negated: bool, outer: &DFSchema) -> Result<Expr> {
    let Subquery { subquery, spans, .. } = &membership.subquery;
    let element = Expr::Column(Column::from(subquery.schema().qualified_field(0)));
    let of_outer = membership.expr.as_ref().clone().transform_up(|expr| match expr {
        Expr::Column(column) => {
            let field = Arc::clone(outer.field_from_column(&column)?);
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let rows = LogicalPlanBuilder::from(subquery.as_ref().clone());
    let rows = rows.filter(verdict(of_outer.data.eq(element)))?.build()?;
    let subquery =
        Subquery { outer_ref_columns: rows.all_out_ref_exprs(), subquery: Arc::new(rows), spans: spans.clone() };
    Ok(Expr::Exists(Exists { subquery, negated }))
}
