//! One running query: started, started again where that can help, stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::{Catalog, forget, planned};
use crate::catalog::ViewDef;
use crate::epoch::{QueryDeps, QueryLoop, QueryPlan};
use crate::error::{Error, ErrorKind, Result};
use crate::panics;
use crate::pipeline::{PlanSettings, at_its_expression};
use crate::status::{Held, QueryState, QueryStatus, Step};

/// First and longest pause before another start.
#[derive(Debug, Clone, Copy)]
struct Pauses {
    /// After a service was lost.
    lost: (Duration, Duration),
    /// After a defect of ours: what it does again costs memory and processor each time.
    defect: (Duration, Duration),
}

const PAUSES: Pauses = Pauses {
    lost: (Duration::from_millis(500), Duration::from_secs(30)),
    defect: (Duration::from_secs(1), Duration::from_secs(300)),
};

/// A query that has run for so long is healthy: the next pause is the first one again.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Running {
    /// Of the query.
    pub(super) version: String,
    /// How it runs beside that: a change starts it again.
    pub(super) settings: String,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// The task has been waited for to its end.
    joined: bool,
    status: Arc<QueryStatus>,
}

impl Running {
    /// `before`: what ran under its name and has been told to stop; it is waited for, because two would compete for one chain of
    /// checkpoints.
    #[expect(clippy::too_many_arguments, reason = "each of them is another thing, and there is one caller")]
    pub(super) fn start(
        plan: QueryPlan,
        settings: String,
        catalog: Arc<Catalog>,
        deps: QueryDeps,
        plan_settings: PlanSettings,
        status: Arc<QueryStatus>,
        fatal: watch::Sender<Option<Arc<Error>>>,
        before: Option<Running>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let version = plan.version.name.clone();
        let view = Arc::clone(&plan.view);
        let supervised =
            Supervised { view, catalog, deps, settings: plan_settings, status: Arc::clone(&status), stop: stopped };
        let task = tokio::spawn(supervised.run(plan, fatal, before));
        Running { version, settings, stop, task, joined: false, status }
    }

    /// Of a task in the place of a query.
    #[cfg(test)]
    pub(super) fn of_task(name: &str, run: impl FnOnce(watch::Receiver<bool>) -> BoxFuture<'static, ()>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let status = Arc::new(QueryStatus::new(name, "test.sql"));
        let task = tokio::spawn(run(stopped));
        Running { version: String::new(), settings: String::new(), stop, task, joined: false, status }
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> Arc<QueryStatus> {
        Arc::clone(&self.status)
    }

    pub(super) fn ask_to_stop(&self) {
        self.status.note_stopping();
        // Nobody listens any more where the query has ended by itself.
        let _ = self.stop.send(true);
    }

    /// Ended by an error: where its file is touched, it is started at once, whatever it waits for.
    pub(super) fn failed(&self) -> bool {
        self.status.has_ended_by_error()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.joined
    }

    /// Waits for its end. May be cancelled and called again.
    pub(super) async fn ended(&mut self) {
        if self.joined {
            return;
        }
        if let Err(error) = (&mut self.task).await {
            error!(query = self.status.name, %error, "query was ended");
        }
        self.joined = true;
    }

    /// Ends it as a crash would, which loses nothing.
    pub(super) fn abort(&self) {
        let checkpoint = self.status.checkpoint.load(Ordering::Relaxed);
        warn!(query = self.status.name, checkpoint, "query ended without a last checkpoint, it goes on from this one");
        self.task.abort();
    }

    /// Its file has been changed for the worse: this version goes on.
    pub(super) fn report_file(&self, error: &Error) {
        self.status.report_file(Some(format!("the file has an error, its last good version runs\n{}", error.report())));
    }

    /// It is another version than its definition says, or the same again.
    pub(super) fn hold(&self, held: Option<Held>) {
        self.status.hold(held);
    }

    /// Its file is right again.
    pub(super) fn mend_file_report(&self) {
        self.status.report_file(None);
    }
}

#[derive(Clone)]
struct Supervised {
    view: Arc<ViewDef>,
    catalog: Arc<Catalog>,
    deps: QueryDeps,
    settings: PlanSettings,
    status: Arc<QueryStatus>,
    stop: watch::Receiver<bool>,
}

/// How one start has ended.
struct Ended {
    outcome: Result<()>,
    /// How long it ran once its state was restored.
    ran: Duration,
}

impl Supervised {
    async fn run(self, plan: QueryPlan, fatal: watch::Sender<Option<Arc<Error>>>, before: Option<Running>) {
        if let Some(mut before) = before {
            // Taking over is a part of restoring: one that never ends has to be seen to hang.
            let _waiting = self.status.steps.during(Step::Restoring);
            before.ended().await;
        }
        let (status, stop, deps) = (Arc::clone(&self.status), self.stop.clone(), self.deps.clone());
        let mut plan = Some(plan);
        let attempt = move || self.clone().attempt(plan.take()).boxed();
        // What goes wrong in an attempt is caught there. This is for all else, which must not end in silence either.
        let kept = async { Ok(keep_running(&status, stop, PAUSES, attempt).await) };
        match panics::caught("what looks after the query", kept).await {
            Ok(None) => {}
            Ok(Some(error)) => _ = fatal.send_replace(Some(Arc::new(error))),
            Err(error) => {
                error!(query = status.name, error = error.report(), "query failed");
                status.set(QueryState::Failed, Some(format!("{}\n{}", error.report(), touch(&status))));
            }
        }
        // It has been given up while the store did not answer, and may have been restored, and shown its view, after that.
        if deps.published.query(&status.name).is_none() {
            forget(&deps, &status.name);
        }
    }

    /// Goes on from the last checkpoint, to whatever ends it. `plan`: already made for the first time.
    ///
    /// Where that is damage, what is damaged is computed again from an older checkpoint, once until the next one is committed.
    async fn attempt(self, plan: Option<QueryPlan>) -> Ended {
        let mut ended = self.once(plan).await;
        let mut fell_back_at = None;
        while let Err(error) = &ended.outcome {
            let checkpoint = self.status.checkpoint.load(Ordering::Relaxed);
            // Input that is gone is no damage of a checkpoint.
            if error.kind() != ErrorKind::Corrupt || error.lost().is_some() || fell_back_at == Some(checkpoint) {
                break;
            }
            fell_back_at = Some(checkpoint);
            // It may be the checkpoint that is damaged, at the start or where a window needed state that had been left there.
            warn!(query = self.status.name, error = error.report(), "damage found, looking at all of the checkpoint");
            self.status.set(QueryState::Starting, Some(error.report()));
            match self.fall_back().await {
                Some(again) => ended = again,
                None => break,
            }
        }
        let at_its_place = |error| at_its_expression(error, &self.view, self.catalog.as_ref());
        Ended { outcome: ended.outcome.map_err(at_its_place), ..ended }
    }

    async fn once(&self, plan: Option<QueryPlan>) -> Ended {
        let open = async {
            let plan = match plan {
                Some(plan) => plan,
                None => self.planned().await?,
            };
            QueryLoop::open(plan, self.deps.clone(), Arc::clone(&self.status)).await
        };
        match panics::caught("the query", open).await {
            Ok(query) => self.to_its_end(query).await,
            Err(error) => Ended { outcome: Err(error), ran: Duration::ZERO },
        }
    }

    /// `None` where nothing of the newest checkpoint is damaged.
    async fn fall_back(&self) -> Option<Ended> {
        let open = async {
            let plan = self.planned().await?;
            QueryLoop::open_recomputed(plan, self.deps.clone(), Arc::clone(&self.status)).await
        };
        // It reads again what may be hours of input, from brokers that may not answer. Nothing of it is committed: ending it loses nothing.
        match unless_stopped(self.stop.clone(), panics::caught("the query", open)).await {
            Some(Ok(query)) => Some(self.to_its_end(query?).await),
            Some(Err(error)) => Some(Ended { outcome: Err(error), ran: Duration::ZERO }),
            None => {
                info!(
                    query = self.status.name,
                    "stopped while its checkpoint was computed again; the next start begins with that"
                );
                Some(Ended { outcome: Ok(()), ran: Duration::ZERO })
            }
        }
    }

    async fn planned(&self) -> Result<QueryPlan> {
        planned(Arc::clone(&self.view), Arc::clone(&self.catalog), self.settings).await
    }

    async fn to_its_end(&self, query: QueryLoop) -> Ended {
        let began = Instant::now();
        let outcome = panics::caught("the query", query.run(self.stop.clone())).await;
        Ended { outcome, ran: began.elapsed() }
    }
}

/// `None` where it is told to stop before the work is done, which then ends where it waits.
async fn unless_stopped<T>(mut stop: watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    let told = async {
        // Whoever could tell it is gone: then nobody does.
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = told => None,
        done = work => Some(done),
    }
}

/// What follows from an error.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Another server has it: the process ends.
    Fenced,
    /// It is started again, and until then is in this state.
    Again(QueryState, (Duration, Duration)),
    /// It stands still until somebody acts.
    Stand(QueryState),
}

/// With the arguments of the state.
fn next(error: &Error, pauses: Pauses) -> (Next, Option<String>) {
    let place = || error.location().map(ToString::to_string);
    match error.kind() {
        ErrorKind::Fenced => (Next::Fenced, None),
        ErrorKind::Unavailable => (Next::Again(QueryState::Degraded, pauses.lost), Some(error.primary().to_owned())),
        ErrorKind::Bug => (Next::Again(QueryState::Failed, pauses.defect), place()),
        ErrorKind::Corrupt => match error.lost() {
            Some(range) => (Next::Stand(QueryState::DataLoss), Some(range.to_owned())),
            None => (Next::Stand(QueryState::Blocked), Some(error.primary().to_owned())),
        },
        ErrorKind::Invalid | ErrorKind::OverBudget => (Next::Stand(QueryState::Failed), place()),
    }
}

fn touch(status: &QueryStatus) -> String {
    format!("its last checkpoint stands; when the cause is mended, save or touch {} to start it again", status.file)
}

/// Starts a query until it ends in order, is told to stop, or stands still. Returns why the process has to end, where it has to.
async fn keep_running(
    status: &QueryStatus,
    mut stop: watch::Receiver<bool>,
    pauses: Pauses,
    mut attempt: impl FnMut() -> BoxFuture<'static, Ended>,
) -> Option<Error> {
    let mut back_off = BackOff::default();
    loop {
        let Ended { outcome, ran } = attempt().await;
        let error = outcome.err()?;
        let (name, report) = (&status.name, error.report());
        let (next, arguments) = next(&error, pauses);
        let pause = match next {
            Next::Fenced => {
                error!(query = name, error = report, "another server has taken over");
                status.set(QueryState::Fenced, Some(report));
                return Some(error);
            }
            Next::Stand(state) => {
                let touch = touch(status);
                error!(query = name, error = report, "query failed; {touch}");
                status.set_with(state, arguments, Some(format!("{report}\n{touch}")));
                return None;
            }
            Next::Again(state, range) => {
                let pause = back_off.after(ran, range);
                let pause_s = pause.as_secs_f64();
                match state {
                    QueryState::Degraded => {
                        warn!(query = name, error = report, pause_s, "query lost a service, starting it again");
                        status.set_with(state, arguments, Some(report));
                    }
                    _ => {
                        error!(query = name, error = report, pause_s, "query failed, starting it again");
                        let again = format!(
                            "its last checkpoint stands; it is started again after {pause_s} s, or at once where {} is saved or touched",
                            status.file
                        );
                        status.set_with(state, arguments, Some(format!("{report}\n{again}")));
                    }
                }
                pause
            }
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return None,
            () = tokio::time::sleep(pause) => {}
        }
        let restarts = status.restarts.fetch_add(1, Ordering::Relaxed) + 1;
        info!(query = name, restarts, "starting the query again");
    }
}

/// Pauses that double from one failure to the next, and begin anew after a while of health.
#[derive(Debug, Default)]
struct BackOff {
    failures: u32,
}

impl BackOff {
    fn after(&mut self, ran: Duration, (first, longest): (Duration, Duration)) -> Duration {
        if ran >= HEALTHY_AFTER {
            self.failures = 0;
        }
        let pause = first.saturating_mul(2_u32.saturating_pow(self.failures)).min(longest);
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

#[cfg(test)]
mod tests;
