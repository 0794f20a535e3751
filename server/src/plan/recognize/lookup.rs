//! Joins of a stream with static rows, which become lookups: after the optimizer, for it makes joins of subqueries.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, JoinType, NullEquality, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Extension, Join, LogicalPlan, Operator};

use super::super::{Streams, reads_stream};
use crate::error::{Error, Result};
use crate::operator::lookup_join::logical::{LookupJoinNode, StaticRows};
use crate::operator::lookup_join::{LookupJoinType, NullKeys};

/// Puts lookups in the place of joins between a stream and static rows: DataFusion's joins build anew in each epoch.
///
/// `tables`: what the query's lookups read so far, in all of its plans, each once.
///
/// # Errors
/// `Invalid` where the join would keep static rows that match nothing.
pub fn lookups(plan: LogicalPlan, streams: &dyn Streams, tables: &mut Vec<Arc<StaticRows>>) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up(|node| match node {
        LogicalPlan::Join(join) => match (reads_stream(&join.left, streams), reads_stream(&join.right, streams)) {
            (stream_left, stream_right) if stream_left != stream_right => {
                let node = Arc::new(lookup(join, stream_left, tables)?);
                Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })))
            }
            _ => Ok(Transformed::no(LogicalPlan::Join(join))),
        },
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}

/// `tables`: what the query's lookups read so far, each once.
fn lookup(join: Join, stream_left: bool, tables: &mut Vec<Arc<StaticRows>>) -> Result<LookupJoinNode> {
    let join_type = match (join.join_type, stream_left) {
        (JoinType::Inner, _) => LookupJoinType::Inner,
        (JoinType::Left, true) | (JoinType::Right, false) => LookupJoinType::LeftOuter,
        (JoinType::LeftSemi, true) | (JoinType::RightSemi, false) => LookupJoinType::LeftSemi,
        (JoinType::LeftAnti, true) | (JoinType::RightAnti, false) => LookupJoinType::LeftAnti,
        (JoinType::LeftMark, true) | (JoinType::RightMark, false) => LookupJoinType::LeftMark,
        (other, _) => {
            return Err(Error::invalid(format!("{other} JOIN of a stream with a static table is not available"))
                .hint("use JOIN or LEFT JOIN with the stream on the left, or [NOT] EXISTS"));
        }
    };
    let Join { left, right, on, filter, null_equality, null_aware, schema, .. } = join;
    let (stream, table) = if stream_left { (left, right) } else { (right, left) };
    let on = on.into_iter().map(|(left, right)| if stream_left { (left, right) } else { (right, left) }).collect();
    let nulls = match null_equality {
        NullEquality::NullEqualsNothing => NullKeys::MatchNothing,
        NullEquality::NullEqualsNull => NullKeys::MatchNull,
    };
    let (on, nulls, filter) = if null_aware {
        not_in(on, filter)?
    } else if join_type.is_about_existence() && Vec::is_empty(&on) {
        not_false(filter, stream.schema(), table.schema())
    } else {
        (on, nulls, filter)
    };
    let table_schema = Arc::clone(table.schema());
    let always = Expr::Literal(ScalarValue::Boolean(Some(true)), None);
    Ok(LookupJoinNode {
        stream: Arc::unwrap_or_clone(stream),
        table: shared(table, tables),
        table_schema,
        on,
        nulls,
        filter: filter.filter(|filter| *filter != always),
        join_type,
        stream_first: stream_left,
        schema,
    })
}

fn shared(mut plan: Arc<LogicalPlan>, tables: &mut Vec<Arc<StaticRows>>) -> Arc<StaticRows> {
    // Another name makes no other rows.
    while let LogicalPlan::SubqueryAlias(alias) = plan.as_ref() {
        plan = Arc::clone(&alias.input);
    }
    let plan = Arc::unwrap_or_clone(plan);
    if let Some(table) = tables.iter().find(|table| *table.plan() == plan) {
        return Arc::clone(table);
    }
    let table = Arc::new(StaticRows::new(plan));
    tables.push(Arc::clone(&table));
    table
}

/// Keys, what a NULL in them matches, and what has to hold beside.
type Condition = (Vec<(Expr, Expr)>, NullKeys, Option<Expr>);

/// DataFusion's form of `s NOT IN (SELECT t …)`.
fn not_in(on: Vec<(Expr, Expr)>, filter: Option<Expr>) -> Result<Condition> {
    match (on.len(), filter) {
        (1, None) => Ok((on, NullKeys::MatchEverything, None)),
        // The type of its key has no hash.
        (0, Some(filter @ Expr::BinaryExpr(BinaryExpr { op: Operator::Eq, .. }))) => {
            Ok((on, NullKeys::MatchNothing, Some(filter.is_not_false())))
        }
        _ => Err(Error::invalid("this NOT IN is not available over a stream").hint("write it as NOT EXISTS")),
    }
}

/// `(s = t) IS NOT FALSE` as a key: see `sql::three_valued`.
fn not_false(filter: Option<Expr>, stream: &DFSchema, table: &DFSchema) -> Condition {
    let is_of = |expr: &Expr, schema: &DFSchema| {
        let columns = expr.column_refs();
        !columns.is_empty() && columns.iter().all(|column| schema.has_column(column))
    };
    let key = |condition: &Expr| {
        let Expr::IsNotFalse(equality) = condition else { return None };
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = equality.as_ref() else { return None };
        let mut sides = [(left, right), (right, left)].into_iter();
        let (of_stream, of_table) = sides.find(|(near, far)| is_of(near, stream) && is_of(far, table))?;
        Some((of_stream.as_ref().clone(), of_table.as_ref().clone()))
    };
    let mut conditions = filter.map(split_conjunction_owned).unwrap_or_default();
    let found = conditions.iter().enumerate().find_map(|(at, condition)| Some((at, key(condition)?)));
    let Some((at, key)) = found else { return (vec![], NullKeys::MatchNothing, conjunction(conditions)) };
    conditions.remove(at);
    (vec![key], NullKeys::MatchEverything, conjunction(conditions))
}
