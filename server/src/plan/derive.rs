//! From the leaves to the root: the plan made ready to run epoch by epoch, and the edge above each node.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, Filter, Join, JoinType, LogicalPlan, Projection, SubqueryAlias, TableScan,
    TableScanBuilder, Union, Unnest, UserDefinedLogicalNodeCore, lit,
};

use super::edge::{ColumnFacts, Edge, Moment, WindowColumn, WindowForm, WindowPart};
use super::explain::{ExplainNode, written};
use super::expression::{Columns, as_column, is_volatile, part_watermark};
use super::{DeriveSettings, StreamPlan, Streams, reads_stream, recognize, refuse};
use crate::changelog::Changes;
use crate::error::{Error, Result};
use crate::operator::logical::ROW;
use crate::operator::once;
use crate::sql::window::WindowKind;
use crate::sql::window_tvf::WindowTvfNode;
use crate::sql::{AsOfJoinNode, expand_for_batch, is_set_operation, time_unit};
use crate::watermark::WatermarkExpr;

/// Turns an analyzed plan into one that may run epoch by epoch.
///
/// # Errors
/// `Invalid` for anything that would need unbounded state or is not available, with what to write instead.
pub fn derive(plan: LogicalPlan, streams: &dyn Streams, settings: DeriveSettings) -> Result<StreamPlan> {
    refuse::time_of_planning(&plan)?;
    let schema = Arc::clone(plan.schema());
    let mut derivation = Derivation { streams, settings, counted: Counted::default(), aggregates: BTreeMap::new() };
    let Derived { plan, edge, explain } = derivation.node(plan, WindowForm::Row)?;
    // The hidden columns end here.
    let mut shown: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    let plan = Arc::new(plan);
    let logical = LogicalPlan::Projection(Projection::try_new_with_schema(shown.clone(), Arc::clone(&plan), schema)?);
    let with_rows = match edge.row_id {
        Some(at) => {
            shown.push(Expr::Column(column_at(plan.schema(), at)));
            LogicalPlan::Projection(Projection::try_new(shown, plan)?)
        }
        None => logical.clone(),
    };
    let edge = Edge { columns: edge.shown().map(|at| edge.columns[at].clone()).collect(), row_id: None, ..edge };
    Ok(StreamPlan { logical, with_rows, edge, operators: derivation.counted.operators, explain })
}

pub(super) struct Derivation<'a> {
    pub(super) streams: &'a dyn Streams,
    pub(super) settings: DeriveSettings,
    pub(super) counted: Counted,
    /// What aggregates have become, by their number. What stands above one may be derived twice; it is not, or every level of
    /// nesting would take twice as long as the one below it.
    pub(super) aggregates: BTreeMap<usize, (Derived, Counted)>,
}

/// What has been counted up to some place in the query.
#[derive(Debug, Clone, Default)]
pub(super) struct Counted {
    /// Operators are numbered by kind in the order of the query's text: their ids name state in checkpoints.
    pub(super) windows: usize,
    pub(super) joins: usize,
    pub(super) panes: usize,
    pub(super) asof_joins: usize,
    pub(super) sessions: usize,
    once: usize,
    moments: usize,
    /// The watermarks of the inputs of each operator, an operator behind those that it depends on.
    pub(super) operators: Vec<super::OperatorInputs>,
}

impl Counted {
    /// A moment that no other column is known to be of.
    pub(super) fn moment(&mut self) -> Moment {
        self.moments += 1;
        Moment::new(self.moments)
    }

    /// Other numbers for the moments of a stream's columns: each stream has numbered its own by itself, and may be read twice.
    fn renumber(&mut self, columns: &mut [ColumnFacts]) {
        let mut numbers: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for moment in columns.iter_mut().filter_map(|facts| facts.moment.as_mut()) {
            let of = std::mem::take(&mut moment.of);
            moment.of = numbers.entry(of).or_insert_with(|| self.moment().of).clone();
        }
    }
}

/// A node that may run epoch by epoch.
#[derive(Debug, Clone)]
pub(super) struct Derived {
    pub(super) plan: LogicalPlan,
    pub(super) edge: Edge,
    pub(super) explain: ExplainNode,
}

impl Derived {
    fn new(plan: LogicalPlan, edge: Edge, what: impl Into<String>, inputs: Vec<ExplainNode>) -> Self {
        let explain = ExplainNode::new(what.into(), &edge, plan.schema(), inputs);
        Derived { plan, edge, explain }
    }

    pub(super) fn columns(&self) -> Columns<'_> {
        Columns { edge: &self.edge, schema: self.plan.schema() }
    }
}

/// An expression reads a window column that has no value while windows are still made of panes.
#[derive(Debug)]
pub(super) struct NeedsRows;

/// What stands in the way of a node.
pub(super) enum Obstacle {
    NeedsRows(NeedsRows),
    Error(Error),
}

impl From<Error> for Obstacle {
    fn from(error: Error) -> Self {
        Obstacle::Error(error)
    }
}

impl From<DataFusionError> for Obstacle {
    fn from(error: DataFusionError) -> Self {
        Obstacle::Error(error.into())
    }
}

impl From<Obstacle> for Error {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::Error(error) => error,
            Obstacle::NeedsRows(_) => Error::bug("a window column without a value where rows have their windows"),
        }
    }
}

impl Derivation<'_> {
    /// `form`: what a window function without an aggregate above it becomes.
    pub(super) fn node(&mut self, plan: LogicalPlan, form: WindowForm) -> Result<Derived, Obstacle> {
        if !reads_stream(&plan, self.streams) {
            let plan = expand_for_batch(plan)?;
            let edge = Edge::fixed(plan.schema());
            return Ok(Derived::new(plan, edge, "static rows", vec![]));
        }
        refuse::streams_in_subqueries(&plan, self.streams)?;
        refuse::membership_as_value(&plan)?;
        let plan = plan.map_subqueries(|subquery| expand_for_batch(subquery).map(Transformed::yes))?.data;
        match plan {
            LogicalPlan::TableScan(scan) => Ok(self.scan(scan)?),
            LogicalPlan::Projection(projection) => self.projection(projection, form),
            LogicalPlan::Filter(filter) => self.filter(filter, form),
            LogicalPlan::SubqueryAlias(alias) => self.alias(alias, form),
            LogicalPlan::Union(union) => self.union(union, form),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest, form),
            LogicalPlan::Join(join) => self.join(join, form),
            LogicalPlan::Aggregate(aggregate) => Ok(recognize::window::aggregate(self, aggregate)?),
            LogicalPlan::Distinct(distinct) => recognize::distinct::distinct(self, distinct),
            LogicalPlan::Window(window) => recognize::over::over(self, window),
            LogicalPlan::Extension(extension) => {
                let node = extension.node.as_any();
                if let Some(window) = node.downcast_ref::<WindowTvfNode>() {
                    self.window_function(window.clone(), form)
                } else if let Some(join) = node.downcast_ref::<AsOfJoinNode>() {
                    recognize::asof::join(self, join)
                } else {
                    Err(refuse::node(&LogicalPlan::Extension(extension)).into())
                }
            }
            other => Err(refuse::node(&other).into()),
        }
    }

    fn scan(&mut self, scan: TableScan) -> Result<Derived> {
        let stream = self.streams.stream(&scan).ok_or_else(|| Error::bug("a scan of a stream reads no stream"))?;
        let mut columns = match &scan.projection {
            Some(read) => read.iter().map(|at| stream.columns.get(*at).cloned().unwrap_or_default()).collect(),
            None => stream.columns,
        };
        self.counted.renumber(&mut columns);
        let what = format!("scan {}{}", if stream.is_view { "view " } else { "" }, scan.table_name);
        let row_id = columns.len();
        columns.push(ColumnFacts::default());
        let projection = scan.projection.map(|mut columns| {
            columns.push(stream.with_rows.schema().fields().len() - 1);
            columns
        });
        let scan = TableScanBuilder::new(scan.table_name, stream.with_rows)
            .with_projection(projection)
            .with_filters(scan.filters)
            .with_fetch(scan.fetch)
            .build()?;
        let edge = Edge { columns, row_id: Some(row_id), ..Edge::default() };
        Ok(Derived::new(LogicalPlan::TableScan(scan), edge, what, vec![]))
    }

    fn projection(&mut self, projection: Projection, form: WindowForm) -> Result<Derived, Obstacle> {
        let input = self.node(Arc::unwrap_or_clone(projection.input), form)?;
        let mut exprs = projection.expr;
        if exprs.iter().any(|expr| as_column(expr).is_none() && input.columns().reads_pane(expr)) {
            return Err(Obstacle::NeedsRows(NeedsRows));
        }
        let mut columns: Vec<ColumnFacts> = exprs.iter().map(|expr| input.columns().facts(expr)).collect();
        let row_id = input.edge.row_id.map(|at| {
            exprs.push(Expr::Column(column_at(input.plan.schema(), at)).alias(ROW));
            columns.push(ColumnFacts::default());
            columns.len() - 1
        });
        let edge = input.edge.with_columns(columns, row_id);
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input.plan))?);
        Ok(Derived { explain: input.explain.with_times(&edge, plan.schema()), plan, edge })
    }

    fn filter(&mut self, filter: Filter, form: WindowForm) -> Result<Derived, Obstacle> {
        let input = self.node(Arc::unwrap_or_clone(filter.input), form)?;
        if input.columns().reads_pane(&filter.predicate) {
            return Err(Obstacle::NeedsRows(NeedsRows));
        }
        let what = format!("filter {}", written(&filter.predicate));
        let edge = input.edge.clone();
        let plan = if is_volatile(&filter.predicate) {
            filter_once(input.plan, filter.predicate)?
        } else {
            LogicalPlan::Filter(Filter::try_new(filter.predicate, Arc::new(input.plan))?)
        };
        Ok(Derived::new(plan, edge, what, vec![input.explain]))
    }

    fn alias(&mut self, alias: SubqueryAlias, form: WindowForm) -> Result<Derived, Obstacle> {
        let input = self.node(Arc::unwrap_or_clone(alias.input), form)?;
        let plan = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(input.plan), alias.alias)?);
        Ok(Derived { plan, edge: input.edge, explain: input.explain })
    }

    fn union(&mut self, union: Union, form: WindowForm) -> Result<Derived, Obstacle> {
        let width = union.schema.fields().len();
        let mut inputs = Vec::new();
        for input in union.inputs {
            let input = Arc::unwrap_or_clone(input);
            let is_stream = reads_stream(&input, self.streams);
            inputs.push(if is_stream { self.node(input, form)? } else { self.once(input)? });
        }
        let mut columns = Vec::with_capacity(width);
        let shown: Vec<Vec<usize>> = inputs.iter().map(|input| input.edge.shown().collect()).collect();
        for at in 0..width {
            let of_inputs =
                inputs.iter().zip(&shown).filter_map(|(input, shown)| input.edge.columns.get(*shown.get(at)?));
            columns.push(united(of_inputs)?);
        }
        // A branch whose rows were not read anywhere has no row id; the others keep theirs.
        let row_id = inputs.iter().any(|input| input.edge.row_id.is_some()).then_some(width);
        columns.extend(row_id.map(|_| ColumnFacts::default()));
        let changes = match inputs.iter().find(|input| input.edge.changes != Changes::Append) {
            Some(input) => input.edge.changes.clone(),
            None => Changes::Append,
        };
        let in_panes = inputs.iter().any(|input| input.edge.in_panes);
        let (mut plans, mut explained) = (Vec::new(), Vec::new());
        for Derived { plan, edge, explain } in inputs {
            plans.push(Arc::new(if row_id.is_some() { with_row_last(plan, &edge)? } else { plan }));
            explained.push(explain);
        }
        let schema = if row_id.is_some() { with_row_field(&union.schema)? } else { union.schema };
        let edge = Edge { columns, changes, key: None, row_id, in_panes };
        Ok(Derived::new(LogicalPlan::Union(Union { inputs: plans, schema }), edge, "union all", explained))
    }

    /// A branch of a union without a stream: its rows come with the first epoch, and never again.
    fn once(&mut self, plan: LogicalPlan) -> Result<Derived> {
        let id = format!("once-{}", self.counted.once);
        self.counted.once += 1;
        self.counted.operators.push(super::OperatorInputs { id: id.clone(), watermarks: vec![] });
        let plan = expand_for_batch(plan)?;
        let constant = ColumnFacts { watermark: Some(WatermarkExpr::Constant), ..ColumnFacts::default() };
        let columns = vec![constant; plan.schema().fields().len()];
        let edge = Edge { columns, ..Edge::default() };
        let explain =
            ExplainNode::new("static rows, read once".to_owned(), &Edge::fixed(plan.schema()), plan.schema(), vec![]);
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(once::node(id, plan)) });
        Ok(Derived { plan, edge, explain })
    }

    fn unnest(&mut self, unnest: Unnest, form: WindowForm) -> Result<Derived, Obstacle> {
        let input = self.node(Arc::unwrap_or_clone(unnest.input), form)?;
        let unnested = unnest.exec_columns.iter().cloned().map(Expr::Column);
        if unnested.clone().any(|column| input.columns().reads_pane(&column)) {
            return Err(Obstacle::NeedsRows(NeedsRows));
        }
        let plan =
            LogicalPlan::Unnest(Unnest::try_new(Arc::new(input.plan), unnest.exec_columns.clone(), unnest.options)?);
        // Each output column says which input column it comes from; what is unnested becomes something else.
        let LogicalPlan::Unnest(made) = &plan else { return Err(Error::bug("an unnest became another node").into()) };
        let touched: Vec<usize> =
            made.list_type_columns.iter().map(|(at, _)| *at).chain(made.struct_type_columns.iter().copied()).collect();
        let columns: Vec<ColumnFacts> = made
            .dependency_indices
            .iter()
            .map(|at| if touched.contains(at) { ColumnFacts::default() } else { input.edge.columns[*at].clone() })
            .collect();
        let row_id = input.edge.row_id.and_then(|row| made.dependency_indices.iter().position(|at| *at == row));
        let edge = input.edge.with_columns(columns, row_id);
        Ok(Derived::new(plan, edge, "unnest", vec![input.explain]))
    }

    fn join(&mut self, join: Join, form: WindowForm) -> Result<Derived, Obstacle> {
        let (left, right) = (reads_stream(&join.left, self.streams), reads_stream(&join.right, self.streams));
        if is_set_operation(&join) {
            return recognize::set_operation::set_operation(self, join);
        }
        if left && right {
            return recognize::interval::join(self, join);
        }
        refuse::join(join.join_type, left)?;
        let exprs = LogicalPlan::Join(join.clone()).expressions();
        let left = self.node(Arc::unwrap_or_clone(Arc::clone(&join.left)), form)?;
        let right = self.node(Arc::unwrap_or_clone(Arc::clone(&join.right)), form)?;
        if exprs.iter().any(|expr| left.columns().reads_pane(expr) || right.columns().reads_pane(expr)) {
            return Err(Obstacle::NeedsRows(NeedsRows));
        }
        let of = |side: &Derived| side.edge.columns.clone();
        let (width, mut columns) = match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => (0, of(&left)),
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => (0, of(&right)),
            _ => (left.edge.columns.len(), [of(&left), of(&right)].concat()),
        };
        let row_id = left.edge.row_id.or(right.edge.row_id.map(|at| width + at));
        let in_panes = left.edge.in_panes || right.edge.in_panes;
        let what = format!("lookup join, {}", join.join_type);
        let plan = LogicalPlan::Join(join).with_new_exprs(exprs, vec![left.plan, right.plan])?;
        columns.resize(plan.schema().fields().len(), ColumnFacts::default());
        let edge = Edge { columns, row_id, in_panes, ..Edge::default() };
        Ok(Derived::new(plan, edge, what, vec![left.explain, right.explain]))
    }

    /// A window function in FROM: three columns more, and in the row form a row for each window.
    fn window_function(&mut self, window: WindowTvfNode, form: WindowForm) -> Result<Derived, Obstacle> {
        let kind = window.kind;
        if matches!(kind, WindowKind::Session { .. }) {
            return recognize::session::session(self, &window);
        }
        // A window over a window is never made of the panes of the inner one.
        let input = self.node(window.input.clone(), WindowForm::Row)?;
        let time = Expr::Column(window.time_column.clone());
        let Some(close) = input.columns().facts(&time).watermark else {
            return Err(recognize::window::without_watermark(&time).into());
        };
        let (start, unit) = (self.counted.moment(), time_unit(&time.get_type(input.plan.schema())?)?);
        let own = |part| ColumnFacts {
            watermark: part_watermark(&kind, part, &close, 1),
            moment: start.of_part(&kind, part, unit),
            window: Some(WindowColumn { kind, part, form, below: false, close: close.clone() }),
        };
        let mut columns = input.edge.columns.clone();
        columns.iter_mut().filter_map(|facts| facts.window.as_mut()).for_each(|window| window.below = true);
        columns.extend([own(WindowPart::Start), own(WindowPart::End), own(WindowPart::Time)]);
        let in_panes = form == WindowForm::Pane;
        let edge = Edge { in_panes, ..input.edge.with_columns(columns, input.edge.row_id) };
        let what = format!("window function {kind}");
        let plan = match form {
            WindowForm::Pane => recognize::window::with_panes(&window, input.plan)?,
            WindowForm::Row => {
                let node = window.with_exprs_and_inputs(window.expressions(), vec![input.plan])?;
                expand_for_batch(LogicalPlan::Extension(Extension { node: Arc::new(node) }))?
            }
        };
        Ok(Derived::new(plan, edge, what, vec![input.explain]))
    }
}

/// A filter by a predicate that gives another value each time: evaluated here, once a row, and not where the optimizer would push it.
fn filter_once(input: LogicalPlan, predicate: Expr) -> Result<LogicalPlan> {
    const KEEP: &str = "__keep";
    let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let judged = columns.iter().cloned().chain([predicate.alias(KEEP)]).collect();
    let judged = LogicalPlan::Projection(Projection::try_new(judged, Arc::new(input))?);
    let kept = Filter::try_new(Expr::Column(Column::new_unqualified(KEEP)), Arc::new(judged))?;
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(LogicalPlan::Filter(kept)))?))
}

/// What is known of a column of a union.
fn united<'a>(inputs: impl Iterator<Item = &'a ColumnFacts> + Clone) -> Result<ColumnFacts, Obstacle> {
    let is_constant = |facts: &&ColumnFacts| facts.watermark == Some(WatermarkExpr::Constant);
    let streams = inputs.clone().filter(|facts| !is_constant(facts));
    let watermarks: Option<Vec<WatermarkExpr>> = streams.clone().map(|facts| facts.watermark.clone()).collect();
    let watermark = watermarks.and_then(least);
    let moments = inputs.clone();
    let windows: Vec<Option<&WindowColumn>> = inputs.map(|facts| facts.window.as_ref()).collect();
    let first = windows.first().copied().flatten();
    let same = first.filter(|first| {
        windows.iter().all(|window| {
            window.is_some_and(|window| {
                (window.kind, window.part, window.form, window.below)
                    == (first.kind, first.part, first.form, first.below)
            })
        })
    });
    if same.is_none() && windows.iter().flatten().any(|window| !window.has_value()) {
        return Err(Obstacle::NeedsRows(NeedsRows));
    }
    let window = same.and_then(|window| {
        let close = least(windows.iter().flatten().map(|window| window.close.clone()).collect())?;
        Some(WindowColumn { close, ..window.clone() })
    });
    // A row is of one branch, and of that branch's time.
    let moments: Option<Vec<&Moment>> = moments.map(|facts| facts.moment.as_ref()).collect();
    let moment =
        moments.filter(|moments| moments.windows(2).all(|pair| pair[0].by == pair[1].by)).and_then(|moments| {
            let by = moments.first()?.by;
            Some(Moment { of: moments.into_iter().flat_map(|moment| moment.of.iter().copied()).collect(), by })
        });
    Ok(ColumnFacts { watermark, window, moment })
}

fn least(mut watermarks: Vec<WatermarkExpr>) -> Option<WatermarkExpr> {
    match watermarks.len() {
        0 | 1 => watermarks.pop(),
        _ => Some(WatermarkExpr::Min(watermarks)),
    }
}

/// The columns that a query names, then the row id: NULL where the rows were not read anywhere.
fn with_row_last(plan: LogicalPlan, edge: &Edge) -> Result<LogicalPlan> {
    let column = |at| Expr::Column(column_at(plan.schema(), at));
    let row = edge.row_id.map_or_else(|| lit(ScalarValue::Int64(None)), column);
    let exprs: Vec<Expr> = edge.shown().map(column).chain([row.alias(ROW)]).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
}

fn with_row_field(schema: &DFSchema) -> Result<DFSchemaRef> {
    let mut fields: Vec<_> = schema.iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
    fields.push((None, Arc::new(crate::operator::logical::row_field())));
    Ok(Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?))
}

pub(super) fn column_at(schema: &DFSchema, at: usize) -> Column {
    Column::from(schema.qualified_field(at))
}
