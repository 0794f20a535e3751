//! `GROUP BY` of windows: which window, made of panes or of rows that come with it, and what the aggregate keeps.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::Column;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, Extension, LogicalPlan, Projection, UserDefinedLogicalNodeCore,
};

use crate::error::{Error, Result};
use crate::operator::logical::{EVENT_TIME, OperatorNode};
use crate::operator::window::panes::{RowWindows, Windows};
use crate::operator::window::{OutputColumn, PANE, WindowAggregate};
use crate::plan::derive::{Derivation, Derived, NeedsRows, Obstacle, column_at};
use crate::plan::edge::{Bound, ColumnFacts, Edge, Moment, WindowColumn, WindowForm, WindowPart};
use crate::plan::explain::{ExplainNode, ExplainState, written};
use crate::plan::expression::{as_column, part_watermark, tick_us};
use crate::plan::pane::{pane_start, window_end};
use crate::plan::{OperatorInputs, refuse};
use crate::sql::SESSION_COLUMNS;
use crate::sql::window::WindowKind;
use crate::sql::window_functions::WindowCall;
use crate::sql::window_tvf::{WINDOW_COLUMNS, WindowTvfNode};
use crate::watermark::{InputRef, WatermarkExpr};

/// An aggregate over a stream.
pub(in crate::plan) fn aggregate(derivation: &mut Derivation<'_>, aggregate: Aggregate) -> Result<Derived> {
    grouped(derivation, aggregate, without_window)
}

/// Rows that are grouped. `lacks_window`: what to say where no window is grouped by.
pub(in crate::plan) fn grouped(
    derivation: &mut Derivation<'_>,
    aggregate: Aggregate,
    lacks_window: fn(&Edge) -> Error,
) -> Result<Derived> {
    // The id comes before those of the operators below: it is counted as the query reads.
    let number = derivation.counted.windows;
    // The same number is the same aggregate: whatever is derived again begins where it began before.
    if let Some((derived, counted)) = derivation.aggregates.get(&number) {
        derivation.counted = counted.clone();
        return Ok(derived.clone());
    }
    check(&aggregate)?;
    let aggregate = without_repeated_keys(aggregate);
    derivation.counted.windows += 1;
    let before = derivation.counted.clone();
    let derived = match attempt(derivation, &aggregate, number, WindowForm::Pane, lacks_window) {
        Err(Obstacle::NeedsRows(NeedsRows)) => {
            // As batch does it: a row for each window.
            derivation.counted = before;
            attempt(derivation, &aggregate, number, WindowForm::Row, lacks_window)?
        }
        other => other?,
    };
    derivation.aggregates.insert(number, (derived.clone(), derivation.counted.clone()));
    Ok(derived)
}

pub(in crate::plan) fn without_watermark(time: &Expr) -> Error {
    let what = match as_column(time) {
        Some(column) => format!("column \"{}\"", column.name),
        None => format!("\"{time}\""),
    };
    Error::invalid(format!("{what} has no watermark, so its windows would never close"))
        .hint("declare WATERMARK FOR it in the table's CREATE TABLE, and pass it on unchanged")
}

/// `window_start`, `window_end` and `window_time` while windows are still made of panes: all of them the start of the pane.
pub(in crate::plan) fn with_panes(window: &WindowTvfNode, input: LogicalPlan) -> Result<LogicalPlan> {
    let mut exprs: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let time = Expr::Column(window.time_column.clone());
    let pane = pane_start(time.clone(), &time.get_type(input.schema())?, window.kind)?;
    for (qualifier, field) in window.schema().iter().skip(window.schema().fields().len() - WINDOW_COLUMNS.len()) {
        exprs.push(pane.clone().alias_qualified(qualifier.cloned(), field.name()));
    }
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?))
}

/// What no window makes right.
fn check(aggregate: &Aggregate) -> Result<()> {
    if aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
        return Err(Error::invalid("GROUPING SETS, ROLLUP and CUBE are not available over a stream")
            .hint("write one view for each grouping"));
    }
    Ok(())
}

/// A key that stands there twice has one column in the schema, or two: only with two is it kept twice.
fn without_repeated_keys(mut aggregate: Aggregate) -> Aggregate {
    let columns = aggregate.schema.fields().len();
    let mut distinct: Vec<Expr> = Vec::new();
    for expr in &aggregate.group_expr {
        if !distinct.contains(expr) {
            distinct.push(expr.clone());
        }
    }
    if columns == distinct.len() + aggregate.aggr_expr.len() {
        aggregate.group_expr = distinct;
    }
    aggregate
}

/// What a group expression is.
enum Group {
    Key,
    Window { column: WindowColumn, by: By },
}

impl Group {
    /// Whether its value is kept as a key. So is all that is said of a session: its rows come when it is complete, so those that close
    /// together are computed together, wherever they end.
    fn is_key(&self) -> bool {
        match self {
            Group::Key => true,
            Group::Window { column, .. } => matches!(column.kind, WindowKind::Session { .. }),
        }
    }
}

/// Where the window of a row is read from.
enum By {
    /// A column that says it.
    Column(Expr),
    /// A call in GROUP BY itself, over this time.
    Call(Expr),
}

fn attempt(
    derivation: &mut Derivation<'_>,
    aggregate: &Aggregate,
    number: usize,
    form: WindowForm,
    lacks_window: fn(&Edge) -> Error,
) -> Result<Derived, Obstacle> {
    let input = derivation.node(aggregate.input.as_ref().clone(), form)?;
    refuse::volatile_below(&input.plan)?;
    let groups =
        aggregate.group_expr.iter().map(|expr| group_of(expr, &input)).collect::<Result<Vec<Group>, Obstacle>>()?;
    let groups = by_their_starts(windows_below_as_keys(groups))?;
    let mut windows = groups.iter().filter_map(|group| match group {
        Group::Window { column, by } => Some((column, by)),
        Group::Key => None,
    });
    let Some((window, by)) = windows.next() else {
        // Rows that are grouped by no window of theirs are grouped once for each of them.
        return Err(if input.edge.in_panes {
            Obstacle::NeedsRows(NeedsRows)
        } else {
            lacks_window(&input.edge).into()
        });
    };
    let calls = groups.iter().any(|group| matches!(group, Group::Window { by: By::Call(_), .. }));
    // Rows in panes are once for each of their windows only where they are grouped by these.
    let by_panes = matches!(by, By::Column(_)) && window.form == WindowForm::Pane;
    if input.edge.in_panes && (calls || !by_panes) {
        return Err(Obstacle::NeedsRows(NeedsRows));
    }
    if windows.any(|(other, _)| (other.kind, other.form) != (window.kind, window.form)) {
        return Err(Error::invalid("one GROUP BY cannot use two different windows")
            .hint("aggregate by the first window in a subquery and by the second over its result")
            .into());
    }
    let keys = || aggregate.group_expr.iter().zip(&groups).filter(|(_, group)| group.is_key());
    for expr in keys().map(|(expr, _)| expr).chain(&aggregate.aggr_expr) {
        if input.columns().reads_pane(expr) {
            return Err(Obstacle::NeedsRows(NeedsRows));
        }
        refuse::volatile_in_state(expr)?;
    }
    refuse::unordered(&aggregate.aggr_expr)?;

    let rows = match (by, window.form) {
        (By::Call(_), _) | (By::Column(_), WindowForm::Pane) => RowWindows::ByPane,
        (By::Column(_), WindowForm::Row) => RowWindows::ByEnd,
    };
    let (window, pane) = (window.clone(), pane_of(&groups, rows, &input)?);
    // A key that stands there twice is kept once: DataFusion's partial aggregation does so, too.
    let mut distinct: Vec<Expr> = Vec::new();
    let places: Vec<usize> = keys()
        .map(|(expr, _)| {
            let key = expr.clone().unalias();
            distinct.iter().position(|other| *other == key).unwrap_or_else(|| {
                distinct.push(key);
                distinct.len() - 1
            })
        })
        .collect();
    let keys = distinct;
    let columns = output_columns(&groups, &places, aggregate.aggr_expr.len());
    // The rows of a session come as a whole, once it is late enough: behind that nobody has to wait again.
    let is_session = matches!(window.kind, WindowKind::Session { .. }) && !window.below;
    let allowed_lateness = if is_session { 0 } else { derivation.settings.allowed_lateness_us };
    let id = format!("window-{number}");
    let at = derivation.counted.operators.len();
    derivation.counted.operators.push(OperatorInputs { id: id.clone(), watermarks: vec![window.close.clone()] });

    // Of what it emits: a window that ends at or before the watermark, less the lateness, has been emitted.
    let emitted = WatermarkExpr::Input(InputRef { operator: at, input: 0 }).behind(allowed_lateness);
    let edge = output_edge(&groups, aggregate, &emitted, &derivation.counted.moment());
    let explain = explained(&id, aggregate, &window, allowed_lateness, rows, &edge, input.explain.clone());
    let exprs = [vec![Expr::Column(Column::new_unqualified(PANE))], keys.clone(), aggregate.aggr_expr.clone()].concat();
    let node = OperatorNode {
        id,
        inputs: vec![narrowed(input, pane, &exprs[1..])?],
        exprs,
        schema: Arc::clone(&aggregate.schema),
        definition: Arc::new(WindowAggregate {
            windows: Windows::new(window.kind, rows, allowed_lateness),
            keys: keys.len(),
            columns,
            early: None,
        }),
    };
    Ok(Derived { plan: LogicalPlan::Extension(Extension { node: Arc::new(node) }), edge, explain })
}

fn group_of(expr: &Expr, input: &Derived) -> Result<Group, Obstacle> {
    if let Some(call) = WindowCall::of(expr)? {
        if input.columns().reads_pane(&call.time) {
            return Err(Obstacle::NeedsRows(NeedsRows));
        }
        let close = input.columns().facts(&call.time).watermark.ok_or_else(|| without_watermark(&call.time))?;
        let part = WindowPart::Struct;
        let column = WindowColumn { kind: call.kind, part, form: WindowForm::Pane, below: false, close };
        return Ok(Group::Window { column, by: By::Call(call.time) });
    }
    let by = By::Column(expr.clone().unalias());
    Ok(match input.columns().facts(expr).window {
        // A window column is grouped by as it is; what is computed of it is a key like any other.
        Some(column) if as_column(expr).is_some() || column.form == WindowForm::Row => Group::Window { column, by },
        _ => Group::Key,
    })
}

/// Beside a window that is to be closed here, one of below is a key like any other.
fn windows_below_as_keys(groups: Vec<Group>) -> Vec<Group> {
    let calls = groups.iter().any(|group| matches!(group, Group::Window { by: By::Call(_), .. }));
    let opens = groups.iter().any(|group| matches!(group, Group::Window { column, .. } if !column.below));
    let as_key = |group| match group {
        // What a call groups by stands above all columns. Panes have no values, so they are not grouped by as keys.
        Group::Window { column, by: By::Column(_) } if calls && column.form == WindowForm::Row => Group::Key,
        Group::Window { column, .. } if opens && column.below => Group::Key,
        other => other,
    };
    groups.into_iter().map(as_key).collect()
}

/// Where nothing but their start is grouped by, windows that begin together are one, of the rows of all of them: as in batch, a row
/// for each window.
fn by_their_starts(mut groups: Vec<Group>) -> Result<Vec<Group>, Obstacle> {
    let windows = || {
        groups.iter().filter_map(|group| match group {
            Group::Window { column, .. } => Some(column),
            Group::Key => None,
        })
    };
    let by_start = |column: &WindowColumn| column.part == WindowPart::Start && column.kind.by_start() != column.kind;
    if windows().any(|column| !by_start(column)) {
        return Ok(groups);
    }
    if windows().any(|column| column.form == WindowForm::Pane) {
        return Err(Obstacle::NeedsRows(NeedsRows));
    }
    for group in &mut groups {
        if let Group::Window { column, .. } = group {
            column.kind = column.kind.by_start();
        }
    }
    Ok(groups)
}

fn without_window(edge: &Edge) -> Error {
    let error = Error::invalid("an aggregate over a stream needs a window, or it would never be final");
    let has_window = edge.columns.iter().any(|facts| facts.window.is_some());
    error.hint(match has_window {
        true => "group by window_start and window_end, too",
        false => "FROM TUMBLE(t, ts, INTERVAL '1 minute') … GROUP BY window_start, window_end, …",
    })
}

/// The pane column: the start of a row's pane, or the end of its window.
fn pane_of(groups: &[Group], rows: RowWindows, input: &Derived) -> Result<Expr> {
    let schema = input.plan.schema();
    let windows = || {
        groups.iter().filter_map(|group| match group {
            Group::Window { column, by } => Some((column, by)),
            Group::Key => None,
        })
    };
    match rows {
        RowWindows::ByPane => match windows().next() {
            Some((column, By::Call(time))) => {
                return Ok(pane_start(time.clone(), &time.get_type(schema)?, column.kind)?);
            }
            // All window columns hold the pane, whichever of them is grouped by.
            Some((_, By::Column(expr))) => return Ok(expr.clone()),
            None => {}
        },
        RowWindows::ByEnd => {
            let rank = |part| match part {
                WindowPart::End => 0,
                WindowPart::Struct => 1,
                WindowPart::Time => 2,
                // Windows that begin together can have several ends.
                WindowPart::Start => 3,
            };
            if let Some((column, By::Column(expr))) = windows().min_by_key(|(column, _)| rank(column.part)) {
                if column.part == WindowPart::Start && matches!(column.kind, WindowKind::Session { .. }) {
                    return Err(Error::invalid(
                        "sessions that begin together can end apart, so their start is no window",
                    )
                    .hint("group by window_end, too"));
                }
                return Ok(window_end(expr.clone(), &expr.get_type(schema)?, column.part, column.kind)?);
            }
        }
    }
    Err(Error::bug("a windowed aggregate without a window"))
}

/// `places`: of each group that is a key, which of the keys it is.
fn output_columns(groups: &[Group], places: &[usize], aggregates: usize) -> Vec<OutputColumn> {
    let mut places = places.iter().copied();
    let mut columns: Vec<OutputColumn> = groups
        .iter()
        .map(|group| match group {
            Group::Window { column, .. } if !group.is_key() => match column.part {
                WindowPart::Start => OutputColumn::WindowStart,
                WindowPart::End => OutputColumn::WindowEnd,
                WindowPart::Time => OutputColumn::WindowTime,
                WindowPart::Struct => OutputColumn::Window,
            },
            _ => OutputColumn::Key(places.next().unwrap_or_default()),
        })
        .collect();
    columns.extend((0..aggregates).map(OutputColumn::Aggregate));
    columns
}

/// `start`: the moment at which a row's window begins.
fn output_edge(groups: &[Group], aggregate: &Aggregate, emitted: &WatermarkExpr, start: &Moment) -> Edge {
    let unit = |data_type: &DataType| match data_type {
        DataType::Timestamp(unit, _) => *unit,
        // A struct is not a tick away from its start.
        _ => TimeUnit::Microsecond,
    };
    let mut columns: Vec<ColumnFacts> = groups
        .iter()
        .zip(aggregate.schema.fields())
        .map(|(group, field)| match group {
            Group::Key => ColumnFacts::default(),
            Group::Window { column: WindowColumn { kind, part, .. }, .. } => ColumnFacts {
                moment: start.of_part(kind, *part, unit(field.data_type())),
                watermark: match part {
                    WindowPart::Struct => None,
                    part => part_watermark(kind, *part, emitted, tick_us(field.data_type())),
                },
                window: Some(WindowColumn {
                    kind: *kind,
                    part: *part,
                    form: WindowForm::Row,
                    below: true,
                    close: emitted.clone(),
                }),
            },
        })
        .collect();
    let key = (0..columns.len()).collect();
    columns.resize(columns.len() + aggregate.aggr_expr.len(), ColumnFacts::default());
    Edge { columns, key: Some(key), ..Edge::default() }
}

/// The input with the pane, what keys and aggregates read, and where the rows come from. The optimizer prunes everything below to that.
fn narrowed(input: Derived, pane: Expr, reads: &[Expr]) -> Result<LogicalPlan> {
    let schema = input.plan.schema();
    let mut needed = BTreeSet::new();
    for expr in reads {
        needed.extend(expr.column_refs().into_iter().cloned());
    }
    let mut projected = vec![pane.clone().alias(PANE)];
    match input.edge.row_id {
        Some(at) => _ = needed.insert(column_at(schema, at)),
        // Rows that an operator made carry no place, but a time.
        None => projected.push(pane.alias(EVENT_TIME)),
    }
    projected.extend(needed.into_iter().map(Expr::Column));
    Ok(LogicalPlan::Projection(Projection::try_new(projected, Arc::new(input.plan))?))
}

fn explained(
    id: &str,
    aggregate: &Aggregate,
    window: &WindowColumn,
    allowed_lateness: i64,
    rows: RowWindows,
    edge: &Edge,
    input: ExplainNode,
) -> ExplainNode {
    // The start and the end of a session that is grouped by as `session(…)` are one group.
    let [start, end, _] = SESSION_COLUMNS;
    let shown = |expr: &Expr| match as_column(expr) {
        Some(column) if column.name == start => None,
        Some(column) if column.name == end => Some("session".to_owned()),
        _ => Some(written(expr)),
    };
    let list = |exprs: &[Expr]| exprs.iter().filter_map(shown).collect::<Vec<_>>().join(", ");
    let what = match aggregate.aggr_expr.as_slice() {
        [] => format!("distinct {}", list(&aggregate.group_expr)),
        aggregates => format!("aggregate {} by {}", list(aggregates), list(&aggregate.group_expr)),
    };
    let mut node = ExplainNode::new(what, edge, &aggregate.schema, vec![input]);
    let overlap = window.kind.windows_of_a_row();
    node.state = Some(ExplainState {
        operator: id.to_owned(),
        per: match rows {
            RowWindows::ByPane if overlap > 1 => "key and pane".to_owned(),
            _ => "key and window".to_owned(),
        },
        bound: Bound::WindowClose { kind: window.kind, allowed_lateness },
        emits: "a row for each key when its window closes",
        rows_factor: (rows == RowWindows::ByEnd && overlap > 1).then_some(overlap),
    });
    node
}
