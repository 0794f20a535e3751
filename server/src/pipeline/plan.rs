//! SQL → [`Pipeline`]: DataFusion plans and optimizes, `plan::derive` puts the stateful nodes in, and what remains that
//! could not run epoch by epoch is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::TableReference;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::execution::SessionState;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, TableScan, UserDefinedLogicalNode, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast;
use parking_lot::Mutex;

use super::Pipeline;
use super::early::EarlyStage;
use super::failure::ExpressionPlaces;
use super::joins::{arranged, narrowed};
use super::optimizer::stream_optimizer;
use super::plain_views;
use super::source_exec::{EpochSourceExec, StreamSlot, StreamTable};
use super::static_tables::StaticTables;
use super::subqueries::Subqueries;
use super::template::{Template, visit};
use super::view_stream::ViewStream;
use crate::catalog::{Defined, EarlyWhen, PlainView, TableDef, ViewDef, ViewOptions};
use crate::changelog::Changes;
use crate::changelog::early::IS_FINAL;
use crate::clock::{Micros, micros_of};
use crate::error::{Error, Location, Result};
use crate::operator::contract::Operator;
use crate::operator::epoch_cell::EpochCell;
use crate::operator::logical::{Lowering, OperatorNode};
use crate::operator::lowered_stateless;
use crate::operator::node::OperatorExec;
use crate::operator::static_side::StaticSide;
use crate::plan::{
    DeriveSettings, EarlyPlan, OperatorInputs, StreamInfo, StreamPlan, Streams, derive, emitting_early, has_volatile,
    lookups, reads_stream, refuse_size, tables_above, told,
};
use crate::sql::session::session;
use crate::sql::window_tvf::WatermarkColumns;
use crate::sql::{
    Code, Functions, SESSION_MAX_LENGTH, STATE_TTL, TIME_COLUMN, at_large_result, expand_for_batch, explained,
    names_session, not_read_by_name, planning_error, refuse_reads, with_sessions, with_state_ttl, with_times,
};
use crate::state::Account;
use crate::watermark::Edges;

/// The tables a query may name.
pub trait Tables: Send + Sync {
    fn defined(&self) -> &Defined;
    /// A static table's rows.
    fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>>;
    /// The materialized views that the query may read as streams: those that it names.
    fn upstreams(&self) -> Vec<Arc<ViewStream>> {
        vec![]
    }
    /// Results that are at hand under a name of their own.
    fn results(&self) -> Vec<(String, Arc<dyn TableProvider>)> {
        vec![]
    }
    /// Users' own functions.
    fn functions(&self) -> Arc<Functions> {
        Arc::default()
    }

    fn definition(&self, name: &str) -> Option<Arc<TableDef>> {
        self.defined().tables.get(name).cloned()
    }
    fn names(&self) -> Vec<String> {
        self.defined().tables.keys().cloned().collect()
    }
    fn plain_view(&self, name: &str) -> Option<Arc<PlainView>> {
        self.defined().plain_views.get(name).cloned()
    }
    fn plain_view_names(&self) -> Vec<String> {
        self.defined().plain_views.keys().cloned().collect()
    }
    /// Of all materialized views that there are.
    fn view_names(&self) -> Vec<String> {
        vec![]
    }
}

/// How plans are made.
#[derive(Debug, Clone, Copy)]
pub struct PlanSettings {
    /// Partitions of the wide plan; 1 makes no wide plan.
    pub partitions: usize,
    /// Rows from which on an epoch runs on the wide plan.
    pub wide_rows: usize,
}

/// A planned statement.
pub enum Planned {
    Stream(Box<Pipeline>),
    /// It reads static tables only and runs once, as an ordinary query.
    Batch(Arc<SessionContext>, Box<LogicalPlan>),
}

impl Planned {
    /// The columns of its rows.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Planned::Stream(pipeline) => Arc::clone(&pipeline.schema),
            Planned::Batch(_, plan) => Arc::clone(plan.schema().inner()),
        }
    }

    /// How its rows relate to those before them.
    pub fn changes(&self) -> Changes {
        match self {
            Planned::Stream(pipeline) => pipeline.changes().clone(),
            // It runs once, over all that there is.
            Planned::Batch(..) => Changes::Append,
        }
    }
}

impl fmt::Debug for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Planned::Stream(pipeline) => write!(f, "Stream({pipeline:?})"),
            Planned::Batch(_, plan) => write!(f, "Batch({plan})"),
        }
    }
}

/// Plans a view's query.
///
/// # Errors
/// `Invalid` with file, line and column for whatever the statement has wrong.
pub async fn plan(view: &ViewDef, tables: &dyn Tables, settings: PlanSettings) -> Result<Planned> {
    let planned = plan_at_view(view, tables, settings)
        .await
        .map_err(|error| name_tables(error, tables).at(view.location.clone()))?;
    check_primary_key(view, &planned.schema())?;
    check_time_column(view, &planned)?;
    Ok(planned)
}

/// Says what could be meant by a table that does not exist.
pub(super) fn name_tables(error: Error, tables: &dyn Tables) -> Error {
    let missing = error.primary().strip_prefix("table '").and_then(|rest| rest.strip_suffix("' not found"));
    let Some(missing) = missing.filter(|_| error.hint_text().is_none()) else { return error };
    if let Some(file) = not_read_by_name(missing) {
        return match error.location() {
            Some(place) => file.at(place.clone()),
            None => file,
        };
    }
    let similar = |name: &&String| normalized_levenshtein(&name.to_lowercase(), &missing.to_lowercase());
    if tables.plain_view(missing).is_some() {
        return error.hint("it is a view that reads itself, directly or through others: break the circle");
    }
    let names = [tables.names(), tables.plain_view_names(), tables.view_names()].concat();
    let nearest = names.iter().max_by(|a, b| similar(a).total_cmp(&similar(b))).filter(|name| similar(name) >= 0.5);
    let hint = match nearest {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => "declare it with CREATE TABLE, CREATE VIEW or CREATE MATERIALIZED VIEW".to_owned(),
    };
    error.hint(hint)
}

pub(super) fn check_primary_key(view: &ViewDef, schema: &SchemaRef) -> Result<()> {
    let Some(unknown) = view.options.primary_key.iter().find(|column| schema.field_with_name(column).is_err()) else {
        return Ok(());
    };
    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    Err(Error::invalid(format!("'primary-key' names column \"{unknown}\", which the view does not have"))
        .hint(format!("there are {}", columns.join(", ")))
        .at(view.location.clone()))
}

/// Of input that ends every time is known when it has ended.
fn check_time_column(view: &ViewDef, planned: &Planned) -> Result<()> {
    let (Some(named), Planned::Stream(pipeline)) = (&view.options.time_column, planned) else { return Ok(()) };
    let columns = pipeline.schema.fields().iter().zip(&pipeline.edge.columns);
    let times = columns.filter(|(_, facts)| facts.watermark.is_some()).map(|(field, _)| field.name().as_str());
    let times: Vec<&str> = times.collect();
    if times.contains(&named.as_str()) {
        return Ok(());
    }
    let what = match pipeline.schema.field_with_name(named) {
        Ok(_) => "which has no watermark",
        Err(_) => "which the view does not have",
    };
    let hint = match times.as_slice() {
        [] => {
            "no column of the view has one: select the time of a stream, or a bound of a window, unchanged".to_owned()
        }
        times => format!("columns with a watermark are {}", times.join(", ")),
    };
    let error = Error::invalid(format!("'{TIME_COLUMN}' names column \"{named}\", {what}"));
    Err(error.hint(hint).at(view.location.clone()))
}

/// How long a session of the view can be, microseconds.
///
/// # Errors
/// `Invalid` where the option is given and the view has no sessions.
pub(super) fn session_max_us(view: &ViewDef, tables: &dyn Tables) -> Result<Option<Micros>> {
    let Some(longest) = view.options.session_max_length else { return Ok(None) };
    let views = plain_views::plain_views_of(&view.query, tables)?;
    if names_session(&view.query) || views.iter().any(|view| names_session(&view.query)) {
        return Ok(Some(micros_of(longest)));
    }
    Err(Error::invalid(format!("option \"{SESSION_MAX_LENGTH}\" has no effect on a view without SESSION"))
        .hint("leave it out")
        .at(view.location.clone()))
}

/// The plan with what the view says of how long versions are kept.
///
/// # Errors
/// `Invalid` where the option is given and the view keeps none for longer.
pub(super) fn with_ttl(plan: LogicalPlan, view: &ViewDef) -> Result<LogicalPlan> {
    let Some(ttl) = view.options.state_ttl else { return Ok(plan) };
    let (plan, is_used) = with_state_ttl(plan, micros_of(ttl))?;
    if is_used {
        return Ok(plan);
    }
    let error = Error::invalid(format!(
        "option \"{STATE_TTL}\" has no effect: no join of the view keeps a row of each key for longer"
    ))
    .detail(
        "it is about ASOF JOIN for the last row before a time, and FOR SYSTEM_TIME AS OF; all else goes with its time",
    );
    Err(error.hint("leave it out").at(view.location.clone()))
}

async fn plan_at_view(view: &ViewDef, tables: &dyn Tables, settings: PlanSettings) -> Result<Planned> {
    let session_max_us = session_max_us(view, tables)?;
    let cell = Arc::new(EpochCell::default());
    let watermarks = watermarks_of(tables);
    let context = Arc::new(session(Arc::clone(&watermarks), settings.partitions)?);
    tables.functions().udfs().for_each(|function| context.register_udf(function.as_ref().clone()));
    for (name, table) in tables.results() {
        context.register_table(TableReference::bare(name), table)?;
    }
    for name in tables.names() {
        let Some(table) = tables.definition(&name) else { continue };
        let provider: Arc<dyn TableProvider> = if table.is_stream() {
            Arc::new(StreamTable::new(Arc::new(StreamSlot::new(table)), Arc::clone(&cell)))
        } else {
            tables.provider(&table)?
        };
        context.register_table(TableReference::bare(name), provider)?;
    }
    for upstream in tables.upstreams() {
        let name = TableReference::bare(upstream.table.name.as_str());
        let stream = StreamTable::new(Arc::new(StreamSlot::of_view(&upstream)), Arc::clone(&cell));
        context.register_table(name, Arc::new(stream))?;
    }
    plain_views::register(&context, &view.query, tables).await?;
    let state = context.state();
    let (_, plan) = analyzed(&view.query, &state, watermarks.as_ref(), &view.location).await?;
    let plan = with_ttl(with_sessions(plan, session_max_us)?, view)?;
    let scans = StreamScans::default();
    if !reads_stream(&plan, &scans) {
        let plan = expand_for_batch(plan)?;
        // All of it is final.
        let plan = if view.emit.early.is_some() { with_is_final(plan)? } else { plan };
        return Ok(Planned::Batch(context, Box::new(plan)));
    }
    let (is_volatile, static_names) = (has_volatile(&plan), static_names(&plan, &scans)?);
    let plan = arranged(plan, &scans, &state)?;
    let allowed_lateness_us = micros_of(view.options.allowed_lateness);
    // The conditions of a view stand in that view's file.
    let file = Some(view.location.file.as_str())
        .filter(|_| plain_views::plain_views_of(&view.query, tables).is_ok_and(|views| views.is_empty()));
    let derived =
        |plan| derive(plan, &scans, DeriveSettings { allowed_lateness_us }).map_err(|error| error.placed_in(file));
    let stream = match narrowed(&plan, &scans, &state)? {
        None => derived(plan)?,
        // Judged as it is written: what a join lacks may be a time that nobody reads.
        Some(narrowed) => derived(plan).and_then(|_| derived(narrowed))?,
    };
    let (stream, early) = match view.emit.early {
        None => (stream, None),
        Some(early) => {
            let planned = planned_early(stream, early.when, &view.options, tables);
            let (stream, early) = planned.map_err(|error| error.at(view.emission_location()))?;
            (stream, Some(early))
        }
    };
    let names: Vec<String> = stream.logical.schema().fields().iter().map(|field| field.name().clone()).collect();
    let inputs = stream.operators.iter().map(|inputs| inputs.watermarks.clone()).collect();
    let edges = Edges::new(inputs, told(&names, &stream.edge));
    let mut static_rows = Vec::new();
    let mut optimized = |plan| {
        let optimized = stream_optimizer(&state).optimize(plan, &state, |_, _| {});
        let plan = optimized.map_err(|error| {
            let error = planning_error(error, &view.location.file, &view.location);
            at_large_result(error, &view.location, Code::Query(&view.query))
        })?;
        lookups(plan, &scans, &mut static_rows)
    };
    let plan = optimized(stream.logical)?;
    let with_rows = optimized(stream.with_rows)?;

    let operators = Arc::new(Operators::new(&stream.operators));
    let planner =
        StreamPlanner { cell: Arc::clone(&cell), operators: Arc::clone(&operators), static_session: state.clone() };
    let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(planner)]);
    let narrow_state = session(Arc::clone(&watermarks), 1)?.state();
    let narrow = planner.create_physical_plan(&plan, &narrow_state).await?;
    let isolating = planner.create_physical_plan(&with_rows, &narrow_state).await?;
    let wide = match settings.partitions {
        0 | 1 => None,
        partitions => Some(planner.create_physical_plan(&plan, &session(watermarks, partitions)?.state()).await?),
    };
    let subqueries = Arc::new(Subqueries::default());
    let (narrow, narrow_values) = subqueries.taken_off(narrow);
    let values = narrow_values.as_ref().map(|values| values.side(&plan));
    let sides = static_rows.into_iter().map(|rows| rows as Arc<dyn StaticSide>).chain(values);
    let static_tables = StaticTables::new(sides, |name| tables.definition(name));
    let wide = wide.map(|wide| subqueries.taken_off(wide));
    let slots = scans.slots.into_inner();
    let (isolating, isolating_values) = subqueries.taken_off(isolating);
    let plans = [&narrow, &isolating].into_iter().chain(wide.as_ref().map(|(wide, _)| wide));
    finish(&slots, plans)?;
    let schema = narrow.schema();
    let operators = operators.all()?;
    let early = early.map(|early| EarlyStage::try_new(early, &narrow, &operators)).transpose();
    let early = early.map_err(|error| error.at(view.emission_location()))?;
    Ok(Planned::Stream(Box::new(Pipeline {
        slots,
        schema,
        emit: view.emit,
        edge: stream.edge,
        is_volatile,
        static_names,
        operators,
        early,
        edges: Mutex::new(edges),
        static_tables,
        explain: stream.explain,
        inputs: stream.operators,
        isolating: Template::isolating(isolating, isolating_values, &cell)?,
        places: ExpressionPlaces::of(view, tables),
        narrow: Template::try_new(narrow, narrow_values)?,
        wide: wide.map(|(wide, values)| Template::try_new(wide, values)).transpose()?,
        wide_rows: settings.wide_rows,
        cell,
        context: context.task_ctx(),
        beside: context.task_ctx(),
        account: Account::unlimited(),
    })))
}

/// The tables of a plan that are no streams.
fn static_names(plan: &LogicalPlan, scans: &StreamScans) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && !scans.is_stream(scan)
        {
            names.insert(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(names)
}

/// The plan of a query that emits early, by its clause and its options.
fn planned_early(
    stream: StreamPlan,
    when: EarlyWhen,
    options: &ViewOptions,
    tables: &dyn Tables,
) -> Result<(StreamPlan, EarlyPlan)> {
    if when == EarlyWhen::LateCorrections && options.allowed_lateness.is_zero() {
        return Err(Error::invalid(format!("{when} corrects what is within the allowed lateness, and there is none"))
            .hint("write CREATE MATERIALIZED VIEW … WITH ('allowed-lateness' = '10 seconds') AS …"));
    }
    let is_refreshed = |name: &String| tables.definition(name).is_some_and(|table| table.refresh_interval.is_some());
    let refreshed = tables_above(&stream.logical).into_iter().find(is_refreshed);
    let (stream, early) = emitting_early(stream, when)?;
    if let Some(name) = refreshed {
        // What one value lets through would stay in the hot table where another does not, and nothing touches it again.
        return Err(Error::invalid(format!(
            "with {when} no result depends on a value of table \"{name}\", which is read again when its files change"
        ))
        .hint("ask for the value when reading the view, or leave 'refresh-interval' out of the table"));
    }
    early.check_primary_key(when, &options.primary_key)?;
    Ok((stream, early))
}

/// A query whose rows are all final, with the column that says so.
fn with_is_final(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    columns.push(lit(true).alias(IS_FINAL));
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

/// A query's plan as it stands there, and analyzed; the size of both is bounded. `start`: its place, for errors that do not say theirs.
pub(super) async fn analyzed(
    query: &ast::Query,
    state: &SessionState,
    watermarks: &dyn WatermarkColumns,
    start: &Location,
) -> Result<(LogicalPlan, LogicalPlan)> {
    refuse_reads(query).map_err(|error| error.at(start.clone()))?;
    let query = with_times(query, watermarks).map_err(|error| planning_error(error, &start.file, start))?;
    let statement = DfStatement::Statement(Box::new(ast::Statement::Query(Box::new(query))));
    let plan = match state.statement_to_plan(statement.clone()).await {
        Ok(plan) => plan,
        Err(error) => return Err(explained(error, &statement, state, start).await),
    };
    refuse_size(&plan).map_err(|error| error.at(start.clone()))?;
    match state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {}) {
        Ok(analyzed) => {
            // Views stand in the plan only now.
            refuse_size(&analyzed).map_err(|error| error.at(start.clone()))?;
            Ok((plan, analyzed))
        }
        Err(error) => Err(explained(error, &statement, state, start).await),
    }
}

pub(super) fn watermarks_of(tables: &dyn Tables) -> Arc<dyn WatermarkColumns> {
    Arc::new(DeclaredWatermarks::of(tables))
}

/// What tables and views declare, by name.
#[derive(Debug)]
struct DeclaredWatermarks(BTreeMap<String, Declared>);

#[derive(Debug)]
struct Declared {
    /// The watermark column of a table; of a view the one that is meant where none is named.
    time: Option<String>,
    key: Vec<String>,
    /// Of a view the columns that have a watermark.
    times_of_view: Option<Vec<String>>,
}

impl DeclaredWatermarks {
    fn of(tables: &dyn Tables) -> Self {
        let declared = tables.names().into_iter().filter_map(|name| {
            let table = tables.definition(&name)?;
            let time = table.watermark.as_ref().map(|watermark| watermark.column.clone());
            Some((name, Declared { time, key: table.primary_key.clone(), times_of_view: None }))
        });
        let of_views = tables.upstreams().into_iter().map(|view| {
            let (key, times_of_view) = (view.table.primary_key.clone(), Some(view.times()));
            (view.table.name.clone(), Declared { time: view.time(), key, times_of_view })
        });
        DeclaredWatermarks(declared.chain(of_views).collect())
    }
}

impl WatermarkColumns for DeclaredWatermarks {
    fn watermark_column(&self, table: &TableReference) -> Option<String> {
        self.0.get(table.table())?.time.clone()
    }

    fn primary_key(&self, table: &TableReference) -> Vec<String> {
        self.0.get(table.table()).map(|declared| declared.key.clone()).unwrap_or_default()
    }

    fn times_of_view(&self, table: &TableReference) -> Option<Vec<String>> {
        self.0.get(table.table())?.times_of_view.clone()
    }
}

/// The streams a query reads, numbered as the plan is walked.
#[derive(Default)]
struct StreamScans {
    slots: Mutex<Vec<Arc<StreamSlot>>>,
}

impl Streams for StreamScans {
    fn is_stream(&self, scan: &TableScan) -> bool {
        source_as_provider(&scan.source).is_ok_and(|provider| provider.is::<StreamTable>())
    }

    fn stream(&self, scan: &TableScan) -> Option<StreamInfo> {
        let provider = source_as_provider(&scan.source).ok()?;
        let table = provider.downcast_ref::<StreamTable>()?;
        let slot = Arc::clone(table.slot());
        let mut slots = self.slots.lock();
        let index = slot.number(slots.len(), slots.iter().map(|slot| slot.marks()).sum());
        if index == slots.len() {
            slots.push(Arc::clone(&slot));
        }
        Some(StreamInfo {
            slot: index,
            is_view: slot.view().is_some(),
            columns: slot.facts(),
            with_rows: provider_as_source(Arc::new(table.with_rows())),
        })
    }
}

/// Tells leaves which columns are read and operators what their inputs are, now that the optimizer has had its say.
fn finish<'a>(slots: &[Arc<StreamSlot>], plans: impl Iterator<Item = &'a Arc<dyn ExecutionPlan>>) -> Result<()> {
    let mut columns: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); slots.len()];
    for plan in plans {
        visit(plan, &mut |node| {
            if let Some(leaf) = node.downcast_ref::<EpochSourceExec>() {
                columns[leaf.slot().index()].extend(leaf.table_columns());
            } else if let Some(operator) = node.downcast_ref::<OperatorExec>() {
                operator.bind()?;
            }
            Ok(())
        })?;
    }
    for (slot, mut columns) in slots.iter().zip(columns) {
        columns.extend(slot.time_columns());
        if columns.is_empty() {
            columns.insert(0);
        }
        slot.set_columns(columns.into_iter().collect());
    }
    Ok(())
}

/// The operators of a query: one of each, whichever plans are made over them.
#[derive(Debug)]
struct Operators {
    /// In the order of the stream plan.
    made: Mutex<Vec<Made>>,
}

/// An operator's id, and the operator once a plan has asked for it.
type Made = (String, Option<Arc<dyn Operator>>);

impl Operators {
    fn new(inputs: &[OperatorInputs]) -> Self {
        Operators { made: Mutex::new(inputs.iter().map(|inputs| (inputs.id.clone(), None)).collect()) }
    }

    fn get_or_make(&self, node: &OperatorNode) -> Result<(usize, Arc<dyn Operator>)> {
        let mut made = self.made.lock();
        let at = made.iter().position(|(id, _)| *id == node.id);
        let at = at.ok_or_else(|| Error::bug(format!("operator {} is not in the stream plan", node.id)))?;
        let make = || node.definition.create(&node.id, Arc::new(node.schema.as_arrow().clone()));
        Ok((at, Arc::clone(made[at].1.get_or_insert_with(make))))
    }

    fn all(&self) -> Result<Vec<Arc<dyn Operator>>> {
        let made = self.made.lock();
        let all = made.iter().map(|(id, operator)| {
            operator.clone().ok_or_else(|| Error::bug(format!("operator {id} has gone from the plan")))
        });
        all.collect()
    }
}

/// Makes physical nodes of ours.
struct StreamPlanner {
    cell: Arc<EpochCell>,
    operators: Arc<Operators>,
    /// In which static rows are planned, which every plan over them shares.
    static_session: SessionState,
}

#[async_trait]
impl ExtensionPlanner for StreamPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical: &[&LogicalPlan],
        physical: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> datafusion::error::Result<Option<Arc<dyn ExecutionPlan>>> {
        let static_session = &self.static_session;
        let lowering =
            Lowering { planner, session, static_session, context, logical, inputs: physical, cell: &self.cell };
        let Some(node) = node.as_any().downcast_ref::<OperatorNode>() else {
            return Ok(lowered_stateless(node, lowering).await?);
        };
        let (index, operator) = self.operators.get_or_make(node)?;
        let inputs = node.definition.lower(node, &operator, index, lowering).await?;
        Ok(Some(Arc::new(OperatorExec::new(inputs, operator, index, Arc::clone(&self.cell)))))
    }
}
