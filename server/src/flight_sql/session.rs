//! Running ad-hoc statements, whatever door they came through: limits, admission, plans and their rows.
//!
//! Ad-hoc work has its own threads, memory pool and object store, so that it can neither starve the streams nor reach
//! what is not published. Its threads have deep stacks, because what users send can nest deeply.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use futures::{FutureExt, Stream, StreamExt};
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::guard::{self, Parsed};
use super::wire::{wire_schema, wire_type};
use crate::error::{Error, ErrorKind, Location, Result};
use crate::sql::{ExpandWindowTvfs, add_window_functions, explained, nearest, session_config};
use crate::status::{QueryState, QueryStatus};
use crate::tables::catalog::{CATALOG, Catalog, PUBLIC_SCHEMA};
use crate::tables::stores::PublicStore;
use crate::tables::view::Pins;

/// Bytes of stack of an ad-hoc thread; reserved, not used, until a deep statement needs it.
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// Statements planned at once; planning is short and has no rows to hold back.
const PLANNED_AT_ONCE: usize = 2;
/// Messages that wait for a slow client before its statement stops producing.
const BUFFERED_MESSAGES: usize = 4;
/// Rows of parameters of one execution; each runs the statement once.
const PARAMETER_ROWS_MAX: usize = 1_000;

/// How long a statement waits for a view whose query is being restored, as after a start. Clients that come back then
/// would be told that the view does not exist.
const RESTORE_WAIT: Duration = Duration::from_secs(10);
const RESTORE_LOOK_EVERY: Duration = Duration::from_millis(20);

/// Limits of ad-hoc statements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdHocSettings {
    /// Threads for ad-hoc statements; streams have their own. Default 2.
    pub threads: usize,
    /// Bytes of memory for all ad-hoc statements together; one that needs more fails. Default 536870912 (512 MiB).
    pub memory_bytes: usize,
    /// Statements that run at once. More wait. Default 8.
    pub concurrency: usize,
    /// Statements that may wait; more are refused at once. Default 64.
    pub queue: usize,
    /// Seconds a statement may take, waiting and sending included. Default 300.
    pub timeout_s: u64,
}

impl Default for AdHocSettings {
    fn default() -> Self {
        AdHocSettings { threads: 2, memory_bytes: 512 * 1024 * 1024, concurrency: 8, queue: 64, timeout_s: 300 }
    }
}

/// Why a statement has no rows, or no more of them.
#[derive(Debug)]
pub enum StatementError {
    Failed(Error),
    /// It names a table that does not exist.
    NotFound(Error),
    /// It is SQL that this engine does not know.
    Unsupported(Error),
    Cancelled,
    TimedOut,
}

impl From<Error> for StatementError {
    fn from(error: Error) -> Self {
        match missing_table(&error) {
            Some(_) => StatementError::NotFound(error),
            None => StatementError::Failed(error),
        }
    }
}

impl From<DataFusionError> for StatementError {
    fn from(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::NotImplemented(_) => StatementError::Unsupported(Error::from(error)),
            _ => StatementError::from(Error::from(error)),
        }
    }
}

impl fmt::Display for StatementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StatementError::Failed(error) | StatementError::NotFound(error) | StatementError::Unsupported(error) => {
                error.fmt(f)
            }
            StatementError::Cancelled => f.write_str("the statement was cancelled"),
            StatementError::TimedOut => f.write_str("the statement took longer than its limit"),
        }
    }
}

type Outcome<T> = Result<T, StatementError>;

/// A statement that has been planned and found harmless.
#[derive(Debug)]
pub struct Prepared {
    plan: LogicalPlan,
    /// Of the result, as it is sent.
    pub schema: SchemaRef,
    /// In the order in which they are bound, as they are written (`$1`, `$name`).
    parameters: Vec<Parameter>,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    /// `None` where the statement leaves it open.
    data_type: Option<DataType>,
}

impl Prepared {
    /// One nullable field a parameter; text where the statement leaves its type open.
    pub fn parameter_schema(&self) -> SchemaRef {
        let field = |parameter: &Parameter| {
            Field::new(&parameter.name, parameter.data_type.as_ref().map_or(DataType::Utf8, wire_type), true)
        };
        Arc::new(Schema::new(self.parameters.iter().map(field).collect::<Vec<_>>()))
    }
}

/// A statement with its parameters, ready to run.
#[derive(Debug)]
pub struct Bound {
    /// One for each row of parameters, run one after the other.
    plans: Vec<LogicalPlan>,
    pub schema: SchemaRef,
}

/// Stops a running statement. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<watch::Sender<bool>>);

impl Default for Cancel {
    fn default() -> Self {
        Cancel(Arc::new(watch::Sender::new(false)))
    }
}

impl Cancel {
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

/// The ad-hoc side of the server. See the module's first lines.
pub struct AdHoc {
    state: SessionState,
    catalog: Catalog,
    planning: Gate,
    running: Gate,
    timeout: Duration,
    handle: Handle,
    /// `None` only while it is being dropped.
    runtime: Option<Runtime>,
}

impl fmt::Debug for AdHoc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdHoc").finish_non_exhaustive()
    }
}

impl Drop for AdHoc {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Does not block: the last owner may be an async task.
            runtime.shutdown_background();
        }
    }
}

impl AdHoc {
    /// `store`: holds the public tables.
    ///
    /// # Errors
    /// `Invalid` for a limit of zero, `Unavailable` if no threads can be had.
    pub fn try_new(settings: &AdHocSettings, catalog: Catalog, store: Arc<dyn ObjectStore>) -> Result<Self> {
        let limits = [
            ("threads", settings.threads),
            ("memory_bytes", settings.memory_bytes),
            ("concurrency", settings.concurrency),
            ("timeout_s", usize::try_from(settings.timeout_s).unwrap_or(usize::MAX)),
        ];
        if let Some((name, _)) = limits.iter().find(|(_, value)| *value == 0) {
            return Err(Error::invalid(format!("{name} is 0: no ad-hoc statement could ever run")));
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(settings.threads)
            .thread_stack_size(STACK_BYTES)
            .thread_name("ad-hoc")
            .enable_all()
            .build()?;
        Ok(AdHoc {
            state: session_state(settings, catalog.clone(), store)?,
            catalog,
            planning: Gate::new(PLANNED_AT_ONCE, settings.queue),
            running: Gate::new(settings.concurrency, settings.queue),
            timeout: Duration::from_secs(settings.timeout_s),
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// When a statement that begins now must have ended. `asked`: the client's own limit, if it has one.
    pub fn deadline(&self, asked: Option<Duration>) -> Instant {
        Instant::now() + asked.map_or(self.timeout, |asked| asked.min(self.timeout))
    }

    /// Parses, plans and judges a statement. `schema`: where names without one are looked up.
    pub async fn prepare(&self, sql: &str, schema: &str, deadline: Instant) -> Outcome<Prepared> {
        if sql.len() > guard::SQL_BYTES_MAX {
            // Before it is copied and queued.
            return Err(guard::parse(sql).err().unwrap_or_else(|| Error::bug("a long statement was accepted")).into());
        }
        let missing = match self.plan(sql, schema, deadline).await {
            Err(StatementError::NotFound(error)) => error,
            outcome => return outcome,
        };
        let Some(view) = missing_table(&missing).map(str::to_owned) else {
            return Err(StatementError::NotFound(missing));
        };
        match self.restored(&view, deadline).await {
            None => Err(StatementError::NotFound(missing)),
            Some(_) => match self.plan(sql, schema, deadline).await {
                Err(StatementError::NotFound(error)) => Err(without_rows(error, self.catalog.query(&view))),
                outcome => outcome,
            },
        }
    }

    async fn plan(&self, sql: &str, schema: &str, deadline: Instant) -> Outcome<Prepared> {
        let _permit = self.planning.admit(deadline).await?;
        let mut state = self.fresh_state(Some(schema));
        for function in self.catalog.functions().udfs() {
            state.register_udf(function)?;
        }
        let (sql, catalog) = (sql.to_owned(), self.catalog.clone());
        self.on_own_threads(deadline, async move { prepare(&state, &catalog, &sql).await }).await
    }

    /// Waits until the query of `view` is past its start, for a limited time; `None` where there is no such query.
    async fn restored(&self, view: &str, deadline: Instant) -> Option<QueryState> {
        let until = deadline.min(Instant::now() + RESTORE_WAIT);
        loop {
            let (state, _) = self.catalog.query(view)?.get();
            if state != QueryState::Starting || Instant::now() >= until {
                return Some(state);
            }
            sleep(RESTORE_LOOK_EVERY).await;
        }
    }

    /// Puts values in for the parameters; `values` has a row for each time the statement is to run.
    pub async fn bind(
        &self,
        prepared: Arc<Prepared>,
        values: Option<RecordBatch>,
        deadline: Instant,
    ) -> Outcome<Bound> {
        let state = self.fresh_state(None);
        self.on_own_threads(deadline, async move { bind(&state, &prepared, values) }).await
    }

    /// Runs a statement; `encode` turns its batches into what the door sends, on the ad-hoc threads.
    ///
    /// Waits for admission. Dropping the rows stops the statement.
    pub async fn run<T, F>(&self, bound: Arc<Bound>, cancel: Cancel, deadline: Instant, encode: F) -> Outcome<Rows<T>>
    where
        T: Send + 'static,
        F: FnMut(RecordBatch) -> Result<Vec<T>> + Send + 'static,
    {
        let permit = self.running.admit(deadline).await?;
        let (sender, receiver) = mpsc::channel(BUFFERED_MESSAGES);
        let state = self.fresh_state(None);
        let task = self.handle.spawn(async move {
            let work = AssertUnwindSafe(run(state, bound, encode, &sender)).catch_unwind();
            let mut cancelled = cancel.0.subscribe();
            let ended = tokio::select! {
                biased;
                () = sender.closed() => return,
                _ = cancelled.wait_for(|cancelled| *cancelled) => Err(StatementError::Cancelled),
                ended = timeout_at(deadline, work) => match ended {
                    Err(_) => Err(StatementError::TimedOut),
                    Ok(Err(_panic)) => Err(Error::bug("the statement failed by a defect of the server").into()),
                    Ok(Ok(ended)) => ended,
                },
            };
            // The place is free once the statement's plan is gone, however slowly the client takes the end of it.
            drop(permit);
            if let Err(error) = ended {
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(Rows { receiver, _task: AbortOnDrop(task.abort_handle()) })
    }

    /// How many statements run or send rows now.
    pub fn running(&self) -> usize {
        self.running.taken()
    }

    fn fresh_state(&self, schema: Option<&str>) -> SessionState {
        let mut state = self.state.clone();
        let config = state.config_mut();
        if let Some(schema) = schema {
            config.options_mut().catalog.default_schema = schema.to_owned();
        }
        config.set_extension(Arc::new(Pins::default()));
        // `now()` is the time at which the statement starts.
        state.mark_start_execution();
        state
    }

    async fn on_own_threads<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Outcome<T>> + Send + 'static,
    ) -> Outcome<T> {
        let task = self.handle.spawn(work);
        let _abort = AbortOnDrop(task.abort_handle());
        match timeout_at(deadline, task).await {
            Err(_) => Err(StatementError::TimedOut),
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => Err(Error::bug("the statement could not be planned, by a defect of the server").into()),
        }
    }
}

/// The state that every statement starts from: what functions, names and stores there are.
fn session_state(settings: &AdHocSettings, catalog: Catalog, store: Arc<dyn ObjectStore>) -> Result<SessionState> {
    let env = RuntimeEnvBuilder::new()
        .with_object_store_registry(Arc::new(PublicStore::new(store)))
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(settings.memory_bytes)))
        // A statement that does not fit into memory fails; it does not fill the disk that the streams need.
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()?;
    let config = session_config()
        .with_target_partitions(settings.threads)
        .with_default_catalog_and_schema(CATALOG, PUBLIC_SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true);
    let watermarks = Arc::new(catalog.clone());
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(env)
        .with_catalog_list(Arc::new(catalog))
        .with_default_features()
        // Formats and factories serve COPY and CREATE EXTERNAL TABLE alone.
        .with_table_factories(Default::default())
        .with_file_formats(Vec::new())
        .build();
    let context = SessionContext::new_with_state(state);
    touchline_udfs::register(&context);
    add_window_functions(&context, watermarks)?;
    // What is read here ends, so a window function is a projection and an unnest.
    context.add_analyzer_rule(Arc::new(ExpandWindowTvfs));
    Ok(context.state())
}

async fn prepare(state: &SessionState, catalog: &Catalog, sql: &str) -> Outcome<Prepared> {
    let Parsed { statement, parameters } = guard::parse(sql)?;
    let plan = match state.statement_to_plan(statement.clone()).await {
        Ok(plan) => plan,
        Err(error) => return Err(explain(error, &statement, state, catalog).await),
    };
    guard::verify(&plan)?;
    // The result's final types: the analyzer's coercions can change those of the plan as it was written.
    let analyzed = state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {});
    let schema = match analyzed {
        Ok(analyzed) => wire_schema(analyzed.schema().as_arrow()),
        // With open parameters it may not be analyzable yet; what is known of it must do until they are bound.
        Err(_) if !parameters.is_empty() => wire_schema(plan.schema().as_arrow()),
        Err(error) => return Err(explain(error, &statement, state, catalog).await),
    };
    let types = plan.get_parameter_types()?;
    let parameters = parameters.into_iter().map(|name| {
        let data_type = types.get(&name).cloned().flatten();
        Parameter { name, data_type }
    });
    Ok(Prepared { schema, parameters: parameters.collect(), plan })
}

/// The result's schema with its final types, once values are bound.
fn result_schema(state: &SessionState, plan: &LogicalPlan) -> SchemaRef {
    let analyzed = state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {});
    wire_schema(analyzed.as_ref().unwrap_or(plan).schema().as_arrow())
}

/// What is wrong with a statement, at its line and column, and what could be meant.
async fn explain(
    error: DataFusionError,
    statement: &Statement,
    state: &SessionState,
    catalog: &Catalog,
) -> StatementError {
    let unsupported = matches!(error.find_root(), DataFusionError::NotImplemented(_));
    let start = Location { file: String::new(), line: 1, column: 1 };
    // A statement as a whole needs no place.
    let error = explained(error, statement, state, &start).await.moved_from(&start);
    if unsupported {
        return StatementError::Unsupported(error);
    }
    let Some(missing) = missing_table(&error) else { return StatementError::Failed(error) };
    let mut described = Error::new(error.kind(), format!("table '{missing}' not found"));
    if let Some(place) = error.location() {
        described = described.at(place.clone());
    }
    let names: Vec<String> = catalog
        .list()
        .into_iter()
        .map(
            |table| if table.schema == PUBLIC_SCHEMA { table.name } else { format!("{}.{}", table.schema, table.name) },
        )
        .collect();
    StatementError::NotFound(match nearest(missing, &names) {
        Some(name) => described.hint(format!("did you mean \"{name}\"?")),
        None => described.hint("SHOW TABLES lists what there is"),
    })
}

/// The name of the table that does not exist, as short as it can be written.
fn missing_table(error: &Error) -> Option<&str> {
    let name = error.primary().strip_prefix("table '")?.strip_suffix("' not found")?;
    let name = name
        .strip_prefix(CATALOG)
        .and_then(|rest| rest.strip_prefix('.'))
        .filter(|rest| rest.contains('.'))
        .unwrap_or(name);
    Some(name.strip_prefix(PUBLIC_SCHEMA).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name))
}

/// A view that is declared and cannot be read: its query has the reason.
fn without_rows(missing: Error, query: Option<Arc<QueryStatus>>) -> StatementError {
    let Some(query) = query else { return StatementError::NotFound(missing) };
    let (state, reason) = query.get();
    let name = &query.name;
    let error = match state {
        QueryState::Starting => {
            return StatementError::Failed(
                Error::unavailable(format!("view \"{name}\" is still being restored from its checkpoint"))
                    .hint("try again soon; /readyz says what is missing"),
            );
        }
        QueryState::Degraded => {
            Error::unavailable(format!("view \"{name}\" cannot be read yet: its query is degraded"))
        }
        other => Error::invalid(format!("view \"{name}\" cannot be read: its query is {}", other.name())),
    };
    let error = match reason {
        Some(reason) => error.detail(reason),
        None => error,
    };
    match error.kind() {
        ErrorKind::Unavailable => StatementError::Failed(error),
        _ => StatementError::NotFound(error),
    }
}

fn bind(state: &SessionState, prepared: &Prepared, values: Option<RecordBatch>) -> Outcome<Bound> {
    if prepared.parameters.is_empty() {
        return Ok(Bound { plans: vec![prepared.plan.clone()], schema: Arc::clone(&prepared.schema) });
    }
    let wanted = prepared.parameters.len();
    let Some(values) = values else {
        return Err(
            Error::invalid(format!("the statement has {wanted} parameters, and no values were bound to them")).into()
        );
    };
    if values.num_columns() != wanted {
        let got = values.num_columns();
        return Err(
            Error::invalid(format!("the statement has {wanted} parameters, and {got} values were bound")).into()
        );
    }
    if values.num_rows() > PARAMETER_ROWS_MAX {
        let got = values.num_rows();
        return Err(Error::over_budget(format!(
            "{got} rows of parameters were bound; the limit is {PARAMETER_ROWS_MAX}"
        ))
        .into());
    }
    let order = columns_in_order(&prepared.parameters, values.schema_ref());
    let mut plans = Vec::with_capacity(values.num_rows());
    for row in 0..values.num_rows() {
        let mut scalars = Vec::with_capacity(wanted);
        for (parameter, &column) in prepared.parameters.iter().zip(&order) {
            let mut scalar = ScalarValue::try_from_array(values.column(column), row)?;
            if let Some(data_type) = &parameter.data_type {
                scalar = scalar.cast_to(data_type).map_err(|error| {
                    Error::invalid(format!("the value of parameter {} is not a {data_type}", parameter.name))
                        .caused_by(error)
                })?;
            }
            scalars.push((parameter, scalar));
        }
        let plan = prepared.plan.clone().replace_params_with_values(&param_values(scalars))?;
        plans.push(plan);
    }
    let schema = match plans.first() {
        Some(plan) => result_schema(state, plan),
        None => Arc::clone(&prepared.schema),
    };
    Ok(Bound { plans, schema })
}

/// Which column holds which parameter's value: by name where every name is there, else by position.
fn columns_in_order(parameters: &[Parameter], schema: &Schema) -> Vec<usize> {
    let by_name: Option<Vec<usize>> = parameters
        .iter()
        .map(|parameter| schema.index_of(&parameter.name).or_else(|_| schema.index_of(&parameter.name[1..])).ok())
        .collect();
    by_name.unwrap_or_else(|| (0..parameters.len()).collect())
}

fn param_values(scalars: Vec<(&Parameter, ScalarValue)>) -> ParamValues {
    let plain = |value| ScalarAndMetadata { value, metadata: None };
    let numbered = scalars.first().is_some_and(|(parameter, _)| parameter.name[1..].parse::<usize>().is_ok());
    if numbered {
        return ParamValues::List(scalars.into_iter().map(|(_, value)| plain(value)).collect());
    }
    ParamValues::Map(
        scalars.into_iter().map(|(parameter, value)| (parameter.name[1..].to_owned(), plain(value))).collect(),
    )
}

/// Executes the plans one after the other and sends what `encode` makes of their batches.
async fn run<T, F>(
    state: SessionState,
    bound: Arc<Bound>,
    mut encode: F,
    sender: &mpsc::Sender<Outcome<T>>,
) -> Outcome<()>
where
    F: FnMut(RecordBatch) -> Result<Vec<T>>,
{
    for plan in &bound.plans {
        let physical = state.create_physical_plan(plan).await?;
        let mut batches = execute_stream(physical, state.task_ctx())?;
        while let Some(batch) = batches.next().await {
            for item in encode(batch?)? {
                if sender.send(Ok(item)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// What a running statement sends. Dropping it stops the statement.
#[derive(Debug)]
pub struct Rows<T> {
    receiver: mpsc::Receiver<Outcome<T>>,
    _task: AbortOnDrop,
}

impl<T> Stream for Rows<T> {
    type Item = Outcome<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outcome<T>>> {
        self.receiver.poll_recv(cx)
    }
}

#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// So many at once, so many waiting, and no more.
struct Gate {
    places: usize,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

impl Gate {
    fn new(places: usize, waiting_max: usize) -> Self {
        let places = places.min(Semaphore::MAX_PERMITS);
        Gate { places, permits: Arc::new(Semaphore::new(places)), waiting: AtomicUsize::new(0), waiting_max }
    }

    fn taken(&self) -> usize {
        self.places - self.permits.available_permits()
    }

    async fn admit(&self, deadline: Instant) -> Outcome<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let waiting = Waiting::enter(&self.waiting);
        if waiting.before >= self.waiting_max {
            return Err(Error::over_budget(format!("{} statements run and {} wait", self.places, self.waiting_max))
                .hint("try again later, or raise concurrency or queue")
                .into());
        }
        match timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(StatementError::Cancelled),
            Err(_) => Err(StatementError::TimedOut),
        }
    }
}

/// Counts a waiting statement for as long as it waits, also if its client goes away.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        Waiting { count, before: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
