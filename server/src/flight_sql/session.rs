//! Running ad-hoc statements, whatever door they came through: limits, admission, plans and their rows.
//!
//! Ad-hoc work has its own threads, memory pool and object store, so that it can neither starve the streams nor reach
//! what is not published. Its threads have deep stacks, because what users send can nest deeply.

use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use arrow_flight::FlightData;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{FunctionRegistry, SessionState, TaskContext};
use datafusion::physical_plan::execute_stream;
use futures::{Stream, StreamExt};
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::gate::Gate;
use super::guard;
use super::place::{Parked, Place};
use super::pressure::{Pressure, Statements};
use super::share::Share;
use super::shorthand::about_session;
use super::statement::{Bound, Outcome, Prepared, StatementError, bind, missing_table, prepare, without_rows};
use super::threads::{Attended, Threads};
use super::watched::{Watch, watch as watch_statement, watched};
use crate::error::{Error, Result};
use crate::sql::session::{session_builder, session_of};
use crate::sql::{ExpandWindowTvfs, session_config};
use crate::state::{Account, AccountPool};
use crate::status::QueryState;
use crate::tables::AdHocFigures;
use crate::tables::catalog::{CATALOG, Catalog, PUBLIC_SCHEMA};
use crate::tables::stores::PublicStore;
use crate::tables::view::Pins;

/// Statements planned at once; planning is short and has no rows to hold back.
const PLANNED_AT_ONCE: usize = 2;
/// Messages that wait for a slow client before its statement stops producing.
const BUFFERED_MESSAGES: usize = 4;

/// How long a statement waits for a view whose query is being restored, as after a start. Clients that come back then
/// would be told that the view does not exist.
const RESTORE_WAIT: Duration = Duration::from_secs(10);
const RESTORE_LOOK_EVERY: Duration = Duration::from_millis(20);

/// Between two looks whether a client has taken what was ready for it.
const UNREAD_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Limits of ad-hoc statements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdHocSettings {
    /// Threads for ad-hoc statements; streams have their own. Default 2.
    pub threads: usize,
    /// Bytes of memory for all ad-hoc statements together, of `engine.state_bytes_max`; one that needs more fails. Default 536870912
    /// (512 MiB).
    pub memory_bytes: usize,
    /// Statements that run at once. More wait; one whose client does not read gives its place away meanwhile. Default 8.
    pub concurrency: usize,
    /// Statements that may wait; more are refused at once. Default 64.
    pub queue: usize,
    /// Seconds a statement may take, waiting and sending included. Default 300.
    pub timeout_s: u64,
    /// Bytes of the whole process in RAM, streams included, at which the largest ad-hoc statement is ended; from nine tenths of it none
    /// begins. Default 0: nine tenths of the machine's memory, or of the control group's where that is less.
    pub process_bytes_max: usize,
}

impl Default for AdHocSettings {
    fn default() -> Self {
        AdHocSettings {
            threads: 2,
            memory_bytes: 512 * 1024 * 1024,
            concurrency: 8,
            queue: 64,
            timeout_s: 300,
            process_bytes_max: 0,
        }
    }
}

impl AdHocSettings {
    /// Limits with which no statement could ever run.
    pub fn mistakes(&self) -> impl Iterator<Item = Error> {
        let limits = [
            ("threads", self.threads),
            ("memory_bytes", self.memory_bytes),
            ("concurrency", self.concurrency),
            ("timeout_s", usize::try_from(self.timeout_s).unwrap_or(usize::MAX)),
        ];
        limits.into_iter().filter(|(_, value)| *value == 0).map(|(name, _)| {
            Error::invalid(format!("adhoc.{name} is zero: no ad-hoc statement could ever run")).hint("write 1 or more")
        })
    }
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
    running: Arc<Gate>,
    parked: Arc<Parked>,
    timeout: Duration,
    threads: Arc<Threads>,
    statements: Arc<Statements>,
    pressure: Pressure,
}

impl fmt::Debug for AdHoc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdHoc").finish_non_exhaustive()
    }
}

impl AdHoc {
    /// `store`: holds the public tables. `account`: answers for the memory of all statements.
    ///
    /// # Errors
    /// `Invalid` for a limit of zero, `Unavailable` if no threads can be had.
    pub fn try_new(
        settings: &AdHocSettings,
        account: Arc<Account>,
        catalog: Catalog,
        store: Arc<dyn ObjectStore>,
    ) -> Result<Self> {
        if let Some(mistake) = settings.mistakes().next() {
            return Err(mistake);
        }
        let statements = Arc::<Statements>::default();
        Ok(AdHoc {
            state: session_state(settings, account, catalog.clone(), store)?,
            catalog,
            planning: Gate::new(PLANNED_AT_ONCE, settings.queue),
            running: Arc::new(Gate::new(settings.concurrency, settings.queue)),
            parked: Arc::default(),
            timeout: Duration::from_secs(settings.timeout_s),
            threads: Threads::try_new(settings.threads)?,
            pressure: Pressure::watch(settings.process_bytes_max, Arc::downgrade(&statements))?,
            statements,
        })
    }

    /// When a statement that begins now must have ended. `asked`: the client's own limit, if it has one.
    pub fn deadline(&self, asked: Option<Duration>) -> Instant {
        Instant::now() + asked.map_or(self.timeout, |asked| asked.min(self.timeout))
    }

    /// Parses, plans and judges a statement of `user`. `schema`: where names without one are looked up.
    pub async fn prepare(&self, sql: &str, user: &str, schema: &str, deadline: Instant) -> Outcome<Prepared> {
        if sql.len() > guard::SQL_BYTES_MAX {
            // Before it is copied and queued.
            return Err(guard::parse(sql).err().unwrap_or_else(|| Error::bug("a long statement was accepted")).into());
        }
        let until = deadline.min(Instant::now() + RESTORE_WAIT);
        // Of each name once: a statement may name several views that are being restored.
        let mut waited_for = BTreeSet::new();
        loop {
            let missing = match self.plan(sql, user, schema, deadline).await {
                Err(StatementError::NotFound(error)) => error,
                outcome => return outcome,
            };
            let Some(view) = missing_table(&missing).map(str::to_owned) else {
                return Err(StatementError::NotFound(missing));
            };
            if !waited_for.insert(view.clone()) {
                return Err(without_rows(missing, self.catalog.query(&view)));
            }
            if !self.is_past_its_start(&view, until).await {
                return Err(StatementError::NotFound(missing));
            }
        }
    }

    async fn plan(&self, sql: &str, user: &str, schema: &str, deadline: Instant) -> Outcome<Prepared> {
        self.pressure.check()?;
        let _permit = self.planning.admit(deadline).await?;
        let mut state = self.fresh_state(Some(schema));
        for function in about_session(user, schema) {
            state.register_udf(Arc::new(function))?;
        }
        for function in self.catalog.functions().udfs() {
            state.register_udf(function)?;
        }
        let (sql, catalog) = (sql.to_owned(), self.catalog.clone());
        self.on_own_threads(deadline, async move { prepare(&state, &catalog, &sql).await }).await
    }

    /// Waits until the query of `view` is past its start, or until then; false where there is no such query.
    async fn is_past_its_start(&self, view: &str, until: Instant) -> bool {
        while let Some(query) = self.catalog.query(view) {
            if query.get().0 != QueryState::Starting || Instant::now() >= until {
                return true;
            }
            sleep(RESTORE_LOOK_EVERY).await;
        }
        false
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
    /// Waits for admission. Dropping the rows stops the statement. `owner`: the principal's name.
    pub async fn run<T, F>(
        &self,
        owner: &Arc<str>,
        bound: Arc<Bound>,
        cancel: Cancel,
        deadline: Instant,
        encode: F,
    ) -> Outcome<Rows<T>>
    where
        T: Weigh + Send + 'static,
        F: FnMut(RecordBatch) -> Result<Vec<T>> + Send + 'static,
    {
        self.pressure.check()?;
        let place = Place::take(&self.running, &self.parked, owner, deadline).await?;
        let seat = place.seat();
        let (sender, receiver) = mpsc::channel(BUFFERED_MESSAGES);
        let state = self.fresh_state(None);
        let share = Share::new(&state.runtime_env().memory_pool);
        let (watch, stopper) = watch_statement();
        let (workers, threads) = (self.threads.workers()?, Arc::clone(&self.threads));
        let work = run(state, bound, encode, sender.clone(), place, Arc::clone(&share), watch);
        let mut task = workers.spawn(work);
        let attended = Attended::new(&threads, workers, task.abort_handle(), stopper);
        let statement = self.statements.enter(&share);
        // Not on the threads of statements: what stops one must not wait until it looks up.
        tokio::spawn(async move {
            let mut cancelled = cancel.0.subscribe();
            // The statement's own end, or why it is ended.
            let (by_itself, error) = tokio::select! {
                biased;
                () = sender.closed() => (false, None),
                _ = cancelled.wait_for(|cancelled| *cancelled) => (false, Some(StatementError::Cancelled)),
                error = statement.evicted() => (false, Some(error.into())),
                () = sleep_until(deadline) => (false, Some(StatementError::TimedOut)),
                ended = &mut task => (true, match ended {
                    Ok(ended) => ended.err(),
                    Err(_panic) => Some(Error::bug("the statement failed by a defect of the server").into()),
                }),
            };
            // Place and memory are the next statement's, however long this one takes to leave its thread.
            seat.leave();
            drop(statement);
            match by_itself {
                true => attended.done(),
                false => {
                    share.give_back();
                    drop(attended);
                }
            }
            if let Some(error) = error {
                let _ = sender.send(Err(error)).await;
            }
            drop(sender);
            unread(share, deadline).await;
        });
        Ok(Rows { receiver })
    }

    /// What is known here of how much goes on.
    pub(super) fn figures(&self) -> AdHocFigures {
        AdHocFigures {
            running: self.running.taken(),
            waiting: self.running.waiting() + self.planning.waiting(),
            refused: self.running.refused() + self.planning.refused() + self.pressure.refused(),
            ended_for_memory: self.statements.evictions(),
            memory_bytes: self.state.runtime_env().memory_pool.reserved(),
            stuck_threads: self.threads.stuck(),
            ..AdHocFigures::default()
        }
    }

    /// How many statements run or send rows to a client that takes them.
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
        let (watch, stopper) = watch_statement();
        let workers = self.threads.workers()?;
        let mut task = workers.spawn(async move {
            let outcome = work.await;
            drop(watch);
            outcome
        });
        let attended = Attended::new(&self.threads, workers, task.abort_handle(), stopper);
        let ended = timeout_at(deadline, &mut task).await;
        if ended.is_ok() {
            attended.done();
        }
        match ended {
            Err(_) => Err(StatementError::TimedOut),
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => Err(Error::bug("the statement could not be planned, by a defect of the server").into()),
        }
    }
}

/// The state that every statement starts from: what functions, names and stores there are.
fn session_state(
    settings: &AdHocSettings,
    account: Arc<Account>,
    catalog: Catalog,
    store: Arc<dyn ObjectStore>,
) -> Result<SessionState> {
    let env = RuntimeEnvBuilder::new()
        .with_object_store_registry(Arc::new(PublicStore::new(store)))
        .with_memory_pool(Arc::new(AccountPool::of_statements(account, settings.memory_bytes)))
        // A statement that does not fit into memory fails; it does not fill the disk that the streams need.
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()?;
    let config = session_config()
        .with_target_partitions(settings.threads)
        .with_default_catalog_and_schema(CATALOG, PUBLIC_SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true);
    let watermarks = Arc::new(catalog.clone());
    let state = session_builder(config)
        .with_runtime_env(env)
        .with_catalog_list(Arc::new(catalog))
        // Formats and factories serve COPY and CREATE EXTERNAL TABLE alone.
        .with_table_factories(Default::default())
        .with_file_formats(Vec::new())
        .build();
    let context = session_of(state, watermarks)?;
    // What is read here ends, so a window function is ordinary nodes.
    context.add_analyzer_rule(Arc::new(ExpandWindowTvfs::default()));
    Ok(context.state())
}

/// Executes the plans one after the other and sends what `encode` makes of their batches.
async fn run<T, F>(
    state: SessionState,
    bound: Arc<Bound>,
    mut encode: F,
    sender: mpsc::Sender<Outcome<Queued<T>>>,
    // Goes last, when the plan has gone.
    place: Place,
    share: Arc<Share>,
    watch: Arc<Watch>,
) -> Outcome<()>
where
    T: Weigh,
    F: FnMut(RecordBatch) -> Result<Vec<T>>,
{
    let memory: Arc<dyn MemoryPool> = share;
    let shared = state.runtime_env();
    let env = Arc::new(RuntimeEnv { memory_pool: Arc::clone(&memory), ..RuntimeEnv::clone(shared) });
    for plan in &bound.plans {
        let physical = state.create_physical_plan(plan).await.map_err(|error| bound.explained_plan(error))?;
        let context = Arc::new(TaskContext::from(&state).with_runtime(Arc::clone(&env)));
        let mut batches = execute_stream(watched(physical, &watch)?, context)?;
        while let Some(batch) = batches.next().await {
            for item in encode(batch.map_err(|error| bound.explained(error))?)? {
                let memory = MemoryConsumer::new("results that wait for their client").register(&memory);
                memory.try_grow(item.bytes())?;
                if !place.send(&sender, Queued { item, _memory: memory }).await? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// What is ready and has not been taken by its client is charged until it is, or until its time is up: who never reads does not keep
/// others from running.
async fn unread(share: Arc<Share>, deadline: Instant) {
    let left = Arc::downgrade(&share);
    drop(share);
    while left.strong_count() > 0 && Instant::now() < deadline {
        sleep_until(deadline.min(Instant::now() + UNREAD_LOOK_EVERY)).await;
    }
    if let Some(share) = left.upgrade() {
        share.give_back();
    }
}

/// How much memory what is sent takes until its client has it.
pub trait Weigh {
    /// Bytes.
    fn bytes(&self) -> usize;
}

impl Weigh for FlightData {
    fn bytes(&self) -> usize {
        self.data_header.len() + self.data_body.len()
    }
}

/// A count of rows.
impl Weigh for usize {
    fn bytes(&self) -> usize {
        0
    }
}

/// An item and the memory that it is charged for while it waits.
#[derive(Debug)]
struct Queued<T> {
    item: T,
    _memory: MemoryReservation,
}

/// What a running statement sends. Dropping it stops the statement.
#[derive(Debug)]
pub struct Rows<T> {
    receiver: mpsc::Receiver<Outcome<Queued<T>>>,
}

impl<T> Stream for Rows<T> {
    type Item = Outcome<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(cx).map(|next| Some(next?.map(|queued| queued.item)))
    }
}
