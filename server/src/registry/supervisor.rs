//! One running query: started, restarted where that can help, stopped.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, warn};

use super::{Catalog, planned};
use crate::epoch::{QueryDeps, QueryLoop, QueryPlan};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{PlanSettings, at_its_expression};
use crate::status::{QueryState, QueryStatus};

/// First and longest pause before a query that lost a service is started again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

#[derive(Debug)]
pub(super) struct Running {
    /// Of the query.
    pub(super) version: String,
    /// How it runs beside that: a change starts it again.
    pub(super) settings: String,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    status: Arc<QueryStatus>,
}

impl Running {
    pub(super) fn start(
        plan: QueryPlan,
        settings: String,
        catalog: Arc<Catalog>,
        deps: QueryDeps,
        plan_settings: PlanSettings,
        status: Arc<QueryStatus>,
        fatal: watch::Sender<Option<Arc<Error>>>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let version = plan.version.name.clone();
        let supervised =
            Supervised { catalog, deps, settings: plan_settings, status: Arc::clone(&status), fatal, stop: stopped };
        let task = tokio::spawn(to_its_end(Arc::clone(&status), supervised.run(plan)));
        Running { version, settings, stop, task, status }
    }

    pub(super) fn ask_to_stop(&self) {
        // Nobody listens any more where the query has ended by itself.
        let _ = self.stop.send(true);
    }

    /// Ended by an error that trying again does not mend; a fenced query ends the process.
    pub(super) fn failed(&self) -> bool {
        self.task.is_finished() && self.status.get().0 == QueryState::Failed
    }

    pub(super) async fn stopped(self) {
        if let Err(error) = self.task.await {
            error!(query = self.status.name, %error, "query was ended");
        }
    }

    /// Its file has been changed for the worse: this version goes on.
    pub(super) fn report_file(&self, error: &Error) {
        self.status.report_file(Some(format!("the file has an error, its last good version runs\n{}", error.report())));
    }

    /// Its file is right again.
    pub(super) fn mend_file_report(&self) {
        self.status.report_file(None);
    }
}

/// A query that ends by a panic has failed: its status must not go on to say that it runs.
async fn to_its_end(status: Arc<QueryStatus>, run: impl Future<Output = ()>) {
    let Err(panic) = AssertUnwindSafe(run).catch_unwind().await else { return };
    let words = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    let error = Error::bug(format!("the query ended by a panic: {}", words.unwrap_or("without a word")))
        .hint("its last checkpoint stands; save or touch its file to start it again, and report this");
    error!(query = status.name, error = error.report(), "query failed");
    status.set(QueryState::Failed, Some(error.report()));
}

struct Supervised {
    catalog: Arc<Catalog>,
    deps: QueryDeps,
    settings: PlanSettings,
    status: Arc<QueryStatus>,
    fatal: watch::Sender<Option<Arc<Error>>>,
    stop: watch::Receiver<bool>,
}

impl Supervised {
    async fn run(mut self, plan: QueryPlan) {
        let view = Arc::clone(&plan.view);
        let mut plan = Some(plan);
        let mut pause = BACK_OFF.0;
        loop {
            let next = match plan.take() {
                Some(plan) => Ok(plan),
                None => planned(Arc::clone(&view), Arc::clone(&self.catalog), self.settings).await,
            };
            let ended = match next {
                Ok(plan) => self.once(plan).await,
                Err(error) => Err(error),
            };
            let Err(error) = ended else { return };
            let error = at_its_expression(error, &view, self.catalog.as_ref());
            let report = error.report();
            match error.kind() {
                ErrorKind::Unavailable => {
                    warn!(query = self.status.name, error = report, "query lost a service, starting it again");
                    self.status.set(QueryState::Degraded, Some(report));
                }
                ErrorKind::Fenced => {
                    error!(query = self.status.name, error = report, "another server has taken over");
                    self.status.set(QueryState::Fenced, Some(report));
                    self.fatal.send_replace(Some(Arc::new(error)));
                    return;
                }
                _ => {
                    let next = format!(
                        "its last checkpoint stands; when the cause is mended, save or touch {} to start it again",
                        self.status.file
                    );
                    error!(query = self.status.name, error = report, "query failed; {next}");
                    self.status.set(QueryState::Failed, Some(format!("{report}\n{next}")));
                    return;
                }
            }
            tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(BACK_OFF.1),
            }
        }
    }

    async fn once(&mut self, plan: QueryPlan) -> Result<()> {
        let view = Arc::clone(&plan.view);
        let ended = match QueryLoop::open(plan, self.deps.clone(), Arc::clone(&self.status)).await {
            Ok(query) => query.run(self.stop.clone()).await,
            Err(error) => Err(error),
        };
        let error = match ended {
            Err(error) if error.kind() == ErrorKind::Corrupt => error,
            other => return other,
        };
        // It may be the checkpoint that is damaged, at the start or where a window needed state that had been left there.
        warn!(query = self.status.name, error = error.report(), "damage found, looking at all of the checkpoint");
        self.status.set(QueryState::Starting, Some(error.report()));
        let plan = planned(view, Arc::clone(&self.catalog), self.settings).await?;
        match QueryLoop::open_recomputed(plan, self.deps.clone(), Arc::clone(&self.status)).await? {
            Some(query) => query.run(self.stop.clone()).await,
            None => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_query_that_panics_has_failed() {
        let status = Arc::new(QueryStatus::new("v".to_owned(), "v.sql".to_owned()));
        status.set(QueryState::Running, None);
        to_its_end(Arc::clone(&status), async { panic!("at row {}", 7) }).await;
        let (state, reason) = status.get();
        assert_eq!(state, QueryState::Failed);
        assert!(reason.unwrap().contains("ended by a panic: at row 7"));
    }
}
