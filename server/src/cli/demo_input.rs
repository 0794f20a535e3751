//! What feeds the demo: simulated matches, one pair after the other, into the embedded log on a thread of their own.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::catalog::{KafkaTopic, StartAt};
use crate::clock::{Clock, Micros};
use crate::error::{Error, Result};
use crate::simulate::output::{EmbeddedTarget, pump};
use crate::simulate::{Class, Simulation, SimulationSettings, Topic};
use crate::source::embedded::{EmbeddedLog, EmbeddedSource};
use crate::source::{PollLimits, Source};

/// Dropping it ends the simulation within one of its waits.
#[derive(Debug)]
pub(super) struct Simulated {
    /// Its loss tells the thread to end.
    _run: Sender<()>,
    ended: oneshot::Receiver<Result<()>>,
}

impl Simulated {
    /// Starts the matches where those of an earlier demo on the same log have ended. `speed`: match minutes a minute.
    ///
    /// # Errors
    /// Those of the log.
    pub(super) fn start(log: &Arc<EmbeddedLog>, clock: Clock, speed: f64) -> Result<Self> {
        let after = latest_event(log, clock.now())?;
        let (run, running) = channel();
        let (report, ended) = oneshot::channel();
        let log = Arc::clone(log);
        thread::Builder::new()
            .name("simulation".to_owned())
            .spawn(move || {
                let _ = report.send(play(log, &clock, speed, after, &running));
            })
            .map_err(|error| Error::unavailable("cannot start the simulation's thread").caused_by(error))?;
        Ok(Simulated { _run: run, ended })
    }

    /// Returns when the simulation ends by itself, which only an error makes it do.
    pub(super) async fn ended(&mut self) -> Result<()> {
        (&mut self.ended).await.unwrap_or_else(|_| Err(Error::bug("the simulation panicked")))
    }
}

fn play(
    log: Arc<EmbeddedLog>,
    clock: &Clock,
    speed: f64,
    mut after: Option<Micros>,
    running: &Receiver<()>,
) -> Result<()> {
    let mut target = EmbeddedTarget::of(log)?;
    loop {
        let mut simulation = Simulation::new(&SimulationSettings::demo(clock.now(), after))?;
        let mut stopped = false;
        let mut wait = |pause: Duration| match running.recv_timeout(pause) {
            Err(RecvTimeoutError::Disconnected) => {
                stopped = true;
                ControlFlow::Break(())
            }
            Ok(()) | Err(RecvTimeoutError::Timeout) => ControlFlow::Continue(()),
        };
        let latest = pump(&mut simulation, speed, &|| clock.now(), &mut wait, &mut |batch, records| {
            // Some viewers' clocks are fast. While the matches are behind the clock such a time is not in the future for
            // the server, so that it cannot be told from a true one: the watermark would follow it, and all other rows
            // would be late.
            for record in records.iter().filter(|record| record.class != Class::Ahead) {
                let key = batch.key(record);
                target.add(record.topic, key.as_ref(), record.event_time_ms, batch.value(record))?;
            }
            target.flush()
        })?;
        if stopped {
            return Ok(());
        }
        after = latest.map(|latest| latest.min(clock.now())).max(after);
    }
}

/// The latest event time up to `now` at the ends of the log's topics; `None` on a new one. The simulation spoils some records
/// with times in the future, and what follows must not wait for those.
fn latest_event(log: &Arc<EmbeddedLog>, now: Micros) -> Result<Option<Micros>> {
    let mut latest = None;
    for topic in Topic::ALL.map(Topic::name) {
        log.ensure_topic(topic)?;
        let begins = log.begins(topic)?;
        let last = log.ends(topic)?.into_iter().map(|(partition, end)| {
            let begin = begins.get(&partition).copied().unwrap_or(end);
            (partition, (end - LOOKED_AT).max(begin))
        });
        let def = KafkaTopic { topic: topic.to_owned(), brokers: None, start: StartAt::Earliest };
        let mut source = EmbeddedSource::open(log, &def, &last.collect(), None)?;
        let limits = PollLimits { records_max: 100_000, bytes_max: 64 << 20, wait: Duration::ZERO };
        source.poll(limits, &mut |record| latest = latest.max(record.timestamp_ms.filter(|ms| *ms <= now / 1000)))?;
    }
    Ok(latest.map(|ms| ms.saturating_mul(1000)))
}

/// Records at the end of a partition that are looked at: events are out of order, so the last is not always the latest.
const LOOKED_AT: i64 = 1_000;
