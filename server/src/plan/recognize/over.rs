//! `OVER` within a window: which window the rows of each partition have in common, and what is kept until it closes.

use std::sync::Arc;

use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, ExprSchemable, Extension, LogicalPlan, Projection, Window};

use crate::error::{Error, Result};
use crate::operator::logical::{EVENT_TIME, OperatorNode};
use crate::operator::pane::Over;
use crate::operator::window::PANE;
use crate::operator::window::panes::{RowWindows, Windows};
use crate::plan::derive::{Derivation, Derived, Obstacle, column_at};
use crate::plan::edge::{Bound, ColumnFacts, Edge, WindowColumn, WindowForm, WindowPart};
use crate::plan::explain::{ExplainNode, ExplainState, written};
use crate::plan::expression::{part_moved, replaced};
use crate::plan::pane::window_end;
use crate::plan::{OperatorInputs, refuse};
use crate::sql::window::WindowKind;
use crate::watermark::{InputRef, WatermarkExpr};

/// Calls of OVER: all that stand upon one another, as those with several orders in one SELECT do.
pub(in crate::plan) fn over(derivation: &mut Derivation<'_>, window: Window) -> Result<Derived, Obstacle> {
    let mut number = next_number(derivation);
    let mut nodes = vec![window];
    while let Some(LogicalPlan::Window(below)) = nodes.last().map(|node| node.input.as_ref()) {
        let below = below.clone();
        nodes.push(below);
    }
    nodes.reverse();
    let Some(bottom) = nodes.first() else { return Err(Error::bug("OVER without a call").into()) };
    // Rows are kept as they are, so they come with their windows.
    let mut input = derivation.node(bottom.input.as_ref().clone(), WindowForm::Row)?;
    refuse::volatile_below(&input.plan)?;
    let mut nodes = nodes.as_slice();
    loop {
        let (count, window) = together(nodes, &input)?;
        input = within(derivation, number, &nodes[..count], window, input)?;
        nodes = &nodes[count..];
        if nodes.is_empty() {
            return Ok(input);
        }
        number = next_number(derivation);
    }
}

fn next_number(derivation: &mut Derivation<'_>) -> usize {
    derivation.counted.panes += 1;
    derivation.counted.panes - 1
}

/// A window that all rows of a partition have in common.
#[derive(Debug, Clone)]
struct Common {
    column: WindowColumn,
    /// What holds it, in PARTITION BY.
    by: Expr,
}

impl Common {
    /// Of windows upon equal ones a row is in each of several with each of several: both are known by kind and watermark alone, and yet
    /// are two.
    fn is_same(&self, other: &Common) -> bool {
        is_of_same_window(&self.column, &other.column)
    }

    /// Several windows begin together, and only their start is known: the rows of all of them are in one partition.
    fn is_by_start(&self) -> bool {
        self.column.part == WindowPart::Start && self.column.kind.by_start() != self.column.kind
    }

    /// The windows by which rows fall apart.
    fn kind(&self) -> WindowKind {
        if self.is_by_start() { self.column.kind.by_start() } else { self.column.kind }
    }

    /// Of the same window in two PARTITION BYs: the one by which fewer rows fall apart, else the one that says it most simply.
    fn rank(&self) -> (bool, u8) {
        let part = match self.column.part {
            WindowPart::End => 0,
            WindowPart::Struct => 1,
            WindowPart::Time => 2,
            WindowPart::Start => 3,
        };
        (!self.is_by_start(), part)
    }
}

fn is_of_same_window(one: &WindowColumn, other: &WindowColumn) -> bool {
    (one.kind, one.below, &one.close) == (other.kind, other.below, &other.close)
}

/// How many of the first nodes can be computed together, since the rows of all their partitions have one window in common; and which.
fn together(nodes: &[Window], input: &Derived) -> Result<(usize, Common)> {
    let (mut count, mut common): (usize, Vec<Common>) = (0, vec![]);
    for node in nodes {
        // What another node computes is known when that has been.
        let reads_input = |expr: &Expr| expr.column_refs().iter().all(|column| input.plan.schema().has_column(column));
        if count > 0 && !node.window_expr.iter().all(reads_input) {
            break;
        }
        let mut of_all = common.clone();
        for (at, expr) in node.window_expr.iter().enumerate() {
            let call = call_of(expr)?;
            let own = windows_of(&call, input);
            if own.is_empty() {
                return Err(refuse::over(expr, &call.params.partition_by, &input.edge, input.plan.schema()));
            }
            of_all = if count + at == 0 { own } else { in_both(of_all, &own) };
        }
        if of_all.is_empty() {
            break;
        }
        (count, common) = (count + 1, of_all);
    }
    // The shortest one closes first.
    let window = common.into_iter().min_by_key(|common| common.kind().longest_us().unwrap_or(i64::MAX));
    Ok((count, window.ok_or_else(|| Error::bug("calls of one OVER have no window in common"))?))
}

fn call_of(expr: &Expr) -> Result<WindowFunction> {
    match expr.clone().unalias() {
        Expr::WindowFunction(call) => Ok(*call),
        other => Err(Error::bug(format!("{other} is no call of OVER"))),
    }
}

/// Each window that a PARTITION BY names.
fn windows_of(call: &WindowFunction, input: &Derived) -> Vec<Common> {
    let mut windows: Vec<Common> = Vec::new();
    for by in &call.params.partition_by {
        let Some(column) = input.columns().facts(by).window.filter(WindowColumn::has_value) else { continue };
        let found = Common { column, by: by.clone().unalias() };
        match windows.iter_mut().find(|window| window.is_same(&found)) {
            // With start and end each window is apart from those that begin with it.
            Some(known) if known.is_by_start() || (!found.is_by_start() && found.rank() < known.rank()) => {
                *known = found
            }
            Some(_) => {}
            None => windows.push(found),
        }
    }
    windows
}

fn in_both(windows: Vec<Common>, others: &[Common]) -> Vec<Common> {
    let both = windows.into_iter().filter_map(|window| {
        let other = others.iter().find(|other| other.is_same(&window))?.clone();
        Some(if other.rank() < window.rank() { other } else { window })
    });
    both.collect()
}

/// The operator of some nodes, the lowest first.
fn within(
    derivation: &mut Derivation<'_>,
    number: usize,
    nodes: &[Window],
    window: Common,
    input: Derived,
) -> Result<Derived> {
    let schema = nodes.last().map(|node| Arc::clone(&node.schema)).ok_or_else(|| Error::bug("OVER without a call"))?;
    let calls: Vec<Expr> = nodes.iter().flat_map(|node| node.window_expr.clone()).collect();
    calls.iter().try_for_each(refuse::volatile_in_state)?;
    let keys = keys(&calls, &window, &input)?;
    let kind = window.kind();
    // What operators below emit is behind no watermark of theirs.
    let allowed_lateness = match input.edge.row_id {
        Some(_) => derivation.settings.allowed_lateness_us,
        None => 0,
    };
    let id = format!("pane-{number}");
    let at = derivation.counted.operators.len();
    let watermarks = vec![window.column.close.clone()];
    derivation.counted.operators.push(OperatorInputs { id: id.clone(), watermarks });
    let emitted = WatermarkExpr::Input(InputRef { operator: at, input: 0 }).behind(allowed_lateness);
    let edge = edge_above(&window, &emitted, &input.edge, calls.len());
    let explain = explained(&id, &calls, &window, allowed_lateness, &edge, &schema, &input);
    let exprs = [vec![Expr::Column(Column::new_unqualified(PANE))], keys.clone(), calls].concat();
    let node = OperatorNode {
        id,
        inputs: vec![with_pane(&window, input)?],
        exprs,
        schema,
        definition: Arc::new(Over::new(Windows::new(kind, RowWindows::ByEnd, allowed_lateness), keys.len())),
    };
    Ok(Derived { plan: LogicalPlan::Extension(Extension { node: Arc::new(node) }), edge, explain })
}

/// What all calls have in PARTITION BY beside the window.
fn keys(calls: &[Expr], window: &Common, input: &Derived) -> Result<Vec<Expr>> {
    let mut common: Option<Vec<Expr>> = None;
    for call in calls {
        let partition = call_of(call)?.params.partition_by.into_iter().map(Expr::unalias);
        let partition: Vec<Expr> = partition.filter(|expr| !is_of(expr, window, input)).collect();
        common = Some(match common {
            None => partition,
            Some(before) => before.into_iter().filter(|expr| partition.contains(expr)).collect(),
        });
    }
    Ok(common.unwrap_or_default())
}

fn is_of(expr: &Expr, window: &Common, input: &Derived) -> bool {
    let facts = input.columns().facts(expr).window;
    facts.is_some_and(|column| window.is_same(&Common { column, by: expr.clone() }))
}

/// The input with the end of each row's window before it, and the time of rows that carry no place.
fn with_pane(window: &Common, input: Derived) -> Result<LogicalPlan> {
    let schema = input.plan.schema();
    let Common { column, by } = window;
    let pane = window_end(by.clone(), &by.get_type(schema)?, column.part, column.kind)?;
    let mut exprs = vec![pane.clone().alias(PANE)];
    exprs.extend(input.edge.shown().map(|at| Expr::Column(column_at(schema, at))));
    exprs.push(match input.edge.row_id {
        Some(at) => Expr::Column(column_at(schema, at)),
        None => pane.alias(EVENT_TIME),
    });
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input.plan))?))
}

/// Rows come out when their window has closed, so their times are behind the watermark by as much as that is long.
fn edge_above(window: &Common, emitted: &WatermarkExpr, input: &Edge, calls: usize) -> Edge {
    let close = &window.column.close;
    // `None`: a window may be of any length.
    let held = window.kind().longest_us().map(|longest| emitted.clone().behind(longest));
    // Where windows begin together, the first of them waits for the last.
    let closed = if window.is_by_start() { held.as_ref() } else { Some(emitted) };
    let above = |facts: &ColumnFacts| {
        // The rows are the same, and so what their columns have to do with one another.
        let ColumnFacts { watermark, window: of, moment } = facts;
        let same = of.as_ref().filter(|of| is_of_same_window(of, &window.column));
        match same {
            Some(of) => ColumnFacts {
                watermark: watermark.as_ref().and_then(|watermark| part_moved(of, watermark, closed?)),
                window: closed.map(|closed| WindowColumn { below: true, close: closed.clone(), ..of.clone() }),
                moment: moment.clone(),
            },
            None => facts.with_watermarks(|of| replaced(of, close, held.as_ref()?)).closed_below(),
        }
    };
    let mut columns: Vec<ColumnFacts> = input.shown().map(|at| above(&input.columns[at])).collect();
    columns.resize(columns.len() + calls, ColumnFacts::default());
    Edge { columns, ..Edge::default() }
}

fn explained(
    id: &str,
    calls: &[Expr],
    window: &Common,
    allowed_lateness: i64,
    edge: &Edge,
    schema: &DFSchema,
    input: &Derived,
) -> ExplainNode {
    let calls = calls.iter().map(written).collect::<Vec<_>>().join(", ");
    let mut node = ExplainNode::new(format!("over {calls}"), edge, schema, vec![input.explain.clone()]);
    let overlap = window.column.kind.windows_of_a_row();
    node.state = Some(ExplainState {
        operator: id.to_owned(),
        per: "row of the input".to_owned(),
        bound: Bound::WindowClose { kind: window.kind(), allowed_lateness },
        emits: "every row of a window when that closes",
        rows_factor: (!window.column.below && overlap > 1).then_some(overlap),
    });
    node
}
