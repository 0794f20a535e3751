//! `GROUP BY session(ts, gap), k`: the sessions of each `k`, as the function of FROM makes them, with the aggregate above.
//!
//! What a session is depends on the rows around, so the call is no expression. Plans that group by it are rewritten before anything else,
//! for streams and for batch alike.

use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{Column, exec_datafusion_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    Aggregate, ColumnarValue, Expr, Extension, LogicalPlan, Projection, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::window::WindowKind;
use super::window_functions::{WindowCall, window_type};
use super::window_tvf::WindowTvfNode;
use crate::error::Error;

/// What the session of a row is called below such an aggregate: names that nobody writes.
pub const SESSION_COLUMNS: [&str; 3] = ["__session_start", "__session_end", "__session_time"];

/// The time of a row where it is computed, and the first letters of the name of a computed key.
const TIME: &str = "__session_at";
const KEY: &str = "__session_key";

/// The plan with every session that is grouped by in its FROM, and none longer than `longest_us`.
pub fn with_sessions(plan: LogicalPlan, longest_us: Option<i64>) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<WindowTvfNode>() {
            Some(window) if matches!(window.kind, WindowKind::Session { .. }) => {
                Ok(Transformed::yes(node_of(window.of_kind(at_most(window.kind, longest_us))?)))
            }
            _ => Ok(Transformed::no(LogicalPlan::Extension(extension))),
        },
        LogicalPlan::Aggregate(aggregate) => match over_sessions(&aggregate, longest_us)? {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Ok(Transformed::no(LogicalPlan::Aggregate(aggregate))),
        },
        node => Ok(Transformed::no(node)),
    })?;
    Ok(rewritten.data)
}

/// Whether any rows of the plan are put into sessions, where [`with_sessions`] has been asked before.
pub fn has_sessions(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Extension(extension) = node
            && let Some(window) = extension.node.as_any().downcast_ref::<WindowTvfNode>()
        {
            found |= matches!(window.kind, WindowKind::Session { .. });
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn at_most(kind: WindowKind, longest_us: Option<i64>) -> WindowKind {
    match kind {
        WindowKind::Session { gap_us, .. } => WindowKind::Session { gap_us, longest_us },
        other => other,
    }
}

/// The same as a plan over sessions in FROM; `None` where the aggregate groups by none.
pub(super) fn over_sessions(aggregate: &Aggregate, longest_us: Option<i64>) -> Result<Option<LogicalPlan>> {
    let groups = distinct_groups(aggregate);
    let calls = groups.iter().map(WindowCall::of).collect::<Result<Vec<_>, Error>>()?;
    let session = groups.iter().zip(&calls).find_map(|(group, call)| {
        let call = call.as_ref().filter(|call| matches!(call.kind, WindowKind::Session { .. }))?;
        Some((group.clone().unalias(), call.clone()))
    });
    let Some((session, WindowCall { time, kind, .. })) = session else { return Ok(None) };
    if groups.iter().zip(&calls).any(|(group, call)| call.is_some() && group.clone().unalias() != session) {
        return Err(Error::invalid("one GROUP BY cannot use two different windows")
            .hint("aggregate by the first window in a subquery and by the second over its result")
            .into());
    }
    let kind = at_most(kind, longest_us);
    let input = &aggregate.input;
    let mut computed = Vec::new();
    let mut column = |expr: &Expr, name: String| match expr.clone().unalias() {
        Expr::Column(column) => column,
        other => {
            computed.push(other.alias(&name));
            Column::new_unqualified(name)
        }
    };
    let time = column(&time, TIME.to_owned());
    let others: Vec<&Expr> = groups.iter().filter(|group| (*group).clone().unalias() != session).collect();
    let keys: Vec<Column> = others.iter().enumerate().map(|(at, group)| column(group, format!("{KEY}{at}"))).collect();
    let rows = match computed.is_empty() {
        true => input.as_ref().clone(),
        false => {
            let columns = input.schema().columns().into_iter().map(Expr::Column).chain(computed).collect();
            LogicalPlan::Projection(Projection::try_new(columns, Arc::clone(input))?)
        }
    };
    let rows = WindowTvfNode::try_named(rows, time.clone(), kind, distinct(keys), SESSION_COLUMNS)?;
    let bound = |name: &str| Expr::Column(Column::new(time.relation.clone(), name));
    let (start, end) = (bound(SESSION_COLUMNS[0]), bound(SESSION_COLUMNS[1]));
    let by = [start.clone(), end.clone()].into_iter().chain(others.into_iter().cloned()).collect();
    let sessions = Aggregate::try_new(Arc::new(node_of(rows)), by, aggregate.aggr_expr.clone())?;
    // The columns that the aggregate had, in their order.
    let mut columns = (2..sessions.schema.fields().len()).map(|at| Column::from(sessions.schema.qualified_field(at)));
    let mut shown = Vec::new();
    for (at, (qualifier, field)) in aggregate.schema.iter().enumerate() {
        if groups.get(at).is_some_and(|group| group.clone().unalias() == session) {
            let window = window_of(start.clone(), end.clone());
            shown.push(window.alias_qualified(qualifier.cloned(), field.name()));
        } else {
            let column = columns.next().ok_or_else(|| Error::bug("an aggregate by sessions has lost a column"))?;
            shown.push(Expr::Column(column));
        }
    }
    let sessions = Arc::new(LogicalPlan::Aggregate(sessions));
    let shown = Projection::try_new_with_schema(shown, sessions, Arc::clone(&aggregate.schema))?;
    Ok(Some(LogicalPlan::Projection(shown)))
}

/// The group expressions that columns are made of: one that stands there twice has one column in the schema, or two.
fn distinct_groups(aggregate: &Aggregate) -> Vec<Expr> {
    let columns = aggregate.schema.fields().len().saturating_sub(aggregate.aggr_expr.len());
    match columns == aggregate.group_expr.len() {
        true => aggregate.group_expr.clone(),
        false => distinct(aggregate.group_expr.clone()),
    }
}

fn distinct<T: PartialEq>(values: Vec<T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}

fn node_of(node: WindowTvfNode) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// The window with these bounds, as the grouping form has it: a struct of `start` and `end`.
fn window_of(start: Expr, end: Expr) -> Expr {
    let signature = Signature::any(2, Volatility::Immutable);
    ScalarUDF::new_from_impl(WindowOf { signature }).call(vec![start, end])
}

/// Start and end of the window that a call of [`window_of`] makes; `None` for any other call.
pub(crate) fn bounds_of_window(call: &ScalarFunction) -> Option<(&Expr, &Expr)> {
    call.func.inner().downcast_ref::<WindowOf>()?;
    match call.args.as_slice() {
        [start, end] => Some((start, end)),
        _ => None,
    }
}

/// Internal: made by [`window_of`] alone.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowOf {
    signature: Signature,
}

impl ScalarUDFImpl for WindowOf {
    fn name(&self) -> &str {
        "window_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(window_type(&arg_types[0])))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let window = DataType::Struct(window_type(args.arg_fields[0].data_type()));
        Ok(Arc::new(Field::new(self.name(), window, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bounds = ColumnarValue::values_to_arrays(&args.args)?;
        let [start, end] = bounds.as_slice() else { return Err(exec_datafusion_err!("a window has two bounds")) };
        let nulls = end.nulls().cloned();
        let windows =
            StructArray::try_new(window_type(start.data_type()), vec![Arc::clone(start), Arc::clone(end)], nulls)?;
        Ok(ColumnarValue::Array(Arc::new(windows) as ArrayRef))
    }
}
