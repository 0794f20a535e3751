//! As-of joins and temporal joins as ordinary joins: comparisons of times in ON become calls that mean nothing to DataFusion, with both
//! sides as they were written. [`super::rule`] finds them again when the query has been planned and analyzed.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr as SqlExpr, Join, JoinConstraint, JoinOperator, Select, Spanned, TableFactor, TableVersion,
    TableWithJoins, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::Wrong;
use super::tokens::Kind;

/// What a marked call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Mark {
    /// A comparison that stands in ON: which row is the nearest, or how near it has to be.
    Bound(Operator),
    /// The one in MATCH_CONDITION.
    Match(Operator),
    /// `FOR SYSTEM_TIME AS OF`: its left side is the time, its right one means nothing.
    Version,
}

const COMPARISONS: [(BinaryOperator, Operator); 4] = [
    (BinaryOperator::GtEq, Operator::GtEq),
    (BinaryOperator::Gt, Operator::Gt),
    (BinaryOperator::LtEq, Operator::LtEq),
    (BinaryOperator::Lt, Operator::Lt),
];

impl Mark {
    /// As an operator of the text's syntax tree. No text has an operator with a space in it.
    fn operator(self) -> BinaryOperator {
        BinaryOperator::Custom(match self {
            Mark::Bound(op) => format!("as-of {op}"),
            Mark::Match(op) => format!("match {op}"),
            Mark::Version => "as of".to_owned(),
        })
    }

    fn of(op: &BinaryOperator) -> Option<Self> {
        if !matches!(op, BinaryOperator::Custom(_)) {
            return None;
        }
        let comparisons = COMPARISONS.into_iter().flat_map(|(_, op)| [Mark::Bound(op), Mark::Match(op)]);
        comparisons.chain([Mark::Version]).find(|mark| mark.operator() == *op)
    }
}

/// Turns the as-of and temporal joins of a query, or of a statement, into marked ones.
///
/// # Errors
/// The first that cannot be one.
pub(crate) fn mark_joins(text: &mut impl VisitMut) -> Result<(), Wrong> {
    match text.visit(&mut Joins) {
        ControlFlow::Break(wrong) => Err(*wrong),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Joins;

impl VisitorMut for Joins {
    type Break = Box<Wrong>;

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        match select.from.iter_mut().try_for_each(marked) {
            Ok(()) => ControlFlow::Continue(()),
            Err(wrong) => ControlFlow::Break(Box::new(wrong)),
        }
    }
}

fn marked(from: &mut TableWithJoins) -> Result<(), Wrong> {
    nested(&mut from.relation)?;
    if let Some((_, span)) = take_version(&mut from.relation)? {
        return Err(Wrong::new(
            "FOR SYSTEM_TIME AS OF belongs to a table that is joined",
            "write FROM e JOIN t FOR SYSTEM_TIME AS OF e.ts AS t ON t.k = e.k",
            span,
        ));
    }
    for join in &mut from.joins {
        nested(&mut join.relation)?;
        let version = take_version(&mut join.relation)?;
        mark(join, version)?;
    }
    Ok(())
}

/// Joins in brackets.
fn nested(table: &mut TableFactor) -> Result<(), Wrong> {
    match table {
        TableFactor::NestedJoin { table_with_joins, .. } => marked(table_with_joins),
        _ => Ok(()),
    }
}

/// The time as of which a table is read, and the place of the table.
fn take_version(table: &mut TableFactor) -> Result<Option<(SqlExpr, Span)>, Wrong> {
    let TableFactor::Table { name, version, .. } = table else { return Ok(None) };
    match version.take() {
        None => Ok(None),
        Some(TableVersion::ForSystemTimeAsOf(time)) => Ok(Some((time, name.span()))),
        Some(_) => Err(Wrong::new("table versions are not available", "leave the version out", name.span())),
    }
}

/// Marks a join where it is as of a time.
fn mark(join: &mut Join, version: Option<(SqlExpr, Span)>) -> Result<(), Wrong> {
    let nothing = JoinOperator::CrossJoin(JoinConstraint::None);
    let (kind, condition, constraint) = match (std::mem::replace(&mut join.join_operator, nothing), version) {
        (JoinOperator::AsOf { match_condition, constraint }, None) => {
            let (kind, condition) = taken_apart(match_condition)?;
            (kind, condition, constraint)
        }
        (JoinOperator::Inner(constraint) | JoinOperator::Join(constraint), Some((time, _))) => {
            (Kind::Inner, Some(as_of(time)), constraint)
        }
        (JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint), Some((time, _))) => {
            (Kind::Left, Some(as_of(time)), constraint)
        }
        (_, Some((_, span))) => {
            return Err(Wrong::new(
                "FOR SYSTEM_TIME AS OF is available with JOIN and LEFT JOIN",
                "write e LEFT JOIN t FOR SYSTEM_TIME AS OF e.ts AS t ON t.k = e.k",
                span,
            ));
        }
        (other, None) => {
            join.join_operator = other;
            return Ok(());
        }
    };
    let on = match constraint {
        JoinConstraint::On(mut on) => {
            if !mark_comparisons(&mut on) && condition.is_none() {
                return Err(Wrong::new(
                    "ASOF JOIN needs a comparison of times by >=, >, <= or <",
                    "write ON a.k = b.k AND a.ts >= b.ts",
                    on.span(),
                ));
            }
            Some(on)
        }
        JoinConstraint::None => None,
        JoinConstraint::Using(_) | JoinConstraint::Natural => {
            return Err(Wrong::new(
                "USING and NATURAL are not available in a join as of a time",
                "write ON a.k = b.k",
                join.relation.span(),
            ));
        }
    };
    let parts = condition.into_iter().chain(on);
    let on = parts.reduce(|left, right| SqlExpr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    });
    let constraint = on.map_or(JoinConstraint::None, JoinConstraint::On);
    join.join_operator = match kind {
        Kind::Inner => JoinOperator::Inner(constraint),
        Kind::Left => JoinOperator::LeftOuter(constraint),
    };
    Ok(())
}

/// What a MATCH_CONDITION says: see [`super::tokens`].
fn taken_apart(condition: SqlExpr) -> Result<(Kind, Option<SqlExpr>), Wrong> {
    let (kind, condition) = match condition {
        SqlExpr::Identifier(name) if Kind::of(&name).is_some() => {
            return Ok((Kind::of(&name).unwrap_or(Kind::Inner), None));
        }
        SqlExpr::Tuple(mut parts) if parts.len() == 2 && is_kind(&parts[0]).is_some() => {
            let kind = is_kind(&parts[0]).unwrap_or(Kind::Inner);
            (kind, parts.swap_remove(1))
        }
        other => (Kind::Inner, other),
    };
    let span = condition.span();
    let compared = |op: &BinaryOperator| COMPARISONS.iter().find(|(known, _)| known == op).map(|(_, op)| *op);
    match without_brackets(condition) {
        SqlExpr::BinaryOp { left, op, right } if compared(&op).is_some() => {
            let op = compared(&op).map_or(op, |op| Mark::Match(op).operator());
            Ok((kind, Some(SqlExpr::BinaryOp { left, op, right })))
        }
        _ => Err(Wrong::new(
            "MATCH_CONDITION holds one comparison of two times by >=, >, <= or <",
            "write MATCH_CONDITION (a.ts >= b.ts); how near the row has to be stands in ON",
            span,
        )),
    }
}

fn is_kind(expr: &SqlExpr) -> Option<Kind> {
    match expr {
        SqlExpr::Identifier(name) => Kind::of(name),
        _ => None,
    }
}

fn without_brackets(expr: SqlExpr) -> SqlExpr {
    match expr {
        SqlExpr::Nested(inner) => without_brackets(*inner),
        other => other,
    }
}

fn as_of(time: SqlExpr) -> SqlExpr {
    let nothing = SqlExpr::Value(Value::Boolean(true).into());
    SqlExpr::BinaryOp { left: Box::new(time), op: Mark::Version.operator(), right: Box::new(nothing) }
}

/// Marks the comparisons among those conditions that all have to be true; says whether there are any.
fn mark_comparisons(expr: &mut SqlExpr) -> bool {
    match expr {
        SqlExpr::Nested(inner) => mark_comparisons(inner),
        SqlExpr::BinaryOp { left, op: BinaryOperator::And, right } => {
            let (left, right) = (mark_comparisons(left), mark_comparisons(right));
            left || right
        }
        SqlExpr::BinaryOp { op, .. } => match COMPARISONS.iter().find(|(comparison, _)| comparison == op) {
            Some((_, known)) => {
                *op = Mark::Bound(*known).operator();
                true
            }
            None => false,
        },
        SqlExpr::Between { expr: time, negated: false, low, high } => {
            let bound = |op: Operator, bound: &SqlExpr| SqlExpr::BinaryOp {
                left: time.clone(),
                op: Mark::Bound(op).operator(),
                right: Box::new(bound.clone()),
            };
            let (low, high) = (bound(Operator::GtEq, low), bound(Operator::LtEq, high));
            *expr = SqlExpr::BinaryOp { left: Box::new(low), op: BinaryOperator::And, right: Box::new(high) };
            true
        }
        _ => false,
    }
}

/// Plans marks.
#[derive(Debug)]
pub(super) struct MarkPlanner;

impl ExprPlanner for MarkPlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        Ok(match Mark::of(&expr.op) {
            Some(mark) => {
                let call = ScalarUDF::from(Marked { mark, signature: Signature::any(2, Volatility::Immutable) });
                PlannerResult::Planned(call.call(vec![expr.left, expr.right]))
            }
            None => PlannerResult::Original(expr),
        })
    }
}

/// A call that says what it is, and cannot be computed. It stands in ON until the rule has been there; it has no name that can be called.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Marked {
    mark: Mark,
    signature: Signature,
}

/// What an expression is marked as, with both of its sides.
pub(super) fn mark_of(expr: &Expr) -> Option<(Mark, &Expr, &Expr)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let marked = call.func.inner().downcast_ref::<Marked>()?;
    let [left, right] = call.args.as_slice() else { return None };
    Some((marked.mark, left, right))
}

impl ScalarUDFImpl for Marked {
    fn name(&self) -> &str {
        match self.mark {
            Mark::Bound(_) => "as_of_bound",
            Mark::Match(_) => "as_of_match",
            Mark::Version => "as_of_version",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("{} is part of a join and has no value", self.name())
    }
}
