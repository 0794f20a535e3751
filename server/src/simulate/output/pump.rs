//! The pace: records when they are due, and no record before its own time.

use std::ops::ControlFlow;
use std::time::Duration;

use super::super::{Batch, SimRecord, Simulation};
use crate::clock::{Micros, duration_of};
use crate::error::Result;

/// So many records are handed on at once at most.
const RECORDS_MAX: usize = 1_000;
/// How long one wait may be, so that an end is noticed.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// Hands records to `sink` when they are due: `speed` times as fast as they arise, but never before their own time.
///
/// So a simulation that starts in the past is played fast until it has caught up with the clock, and then live; no event
/// lies in the future. `speed` 0 does not wait at all. All records that are due come in one slice, at most 1,000.
///
/// `now`: processing time. `wait`: sleeps, or says that it is time to end; called between slices, also with zero.
/// Returns the latest event time handed on, in microseconds, `None` if there was none.
///
/// # Errors
/// What the sink says.
pub fn pump(
    simulation: &mut Simulation,
    speed: f64,
    now: &dyn Fn() -> Micros,
    wait: &mut dyn FnMut(Duration) -> ControlFlow<()>,
    sink: &mut dyn FnMut(&Batch, &[SimRecord]) -> Result<()>,
) -> Result<Option<Micros>> {
    let (began, start_ms) = (now(), simulation.start_ms());
    let due = |record: &SimRecord| {
        let fast = began.saturating_add(((record.send_time_ms - start_ms) as f64 * 1000.0 / speed) as Micros);
        fast.max(record.send_time_ms * 1000)
    };
    let mut latest: Option<Micros> = None;
    let mut batch = Batch::default();
    while simulation.next(&mut batch) {
        let mut rest = batch.records();
        while let Some(first) = rest.first() {
            let (mut count, mut pause) = (rest.len(), Duration::ZERO);
            if speed > 0.0 {
                let at = now();
                // Times to arrive never fall, so neither do times to be due.
                count = rest.partition_point(|record| due(record) <= at);
                pause = duration_of(due(first).saturating_sub(at)).min(WAIT_MAX);
            }
            if wait(pause).is_break() {
                return Ok(latest);
            }
            let (ready, later) = rest.split_at(count.min(RECORDS_MAX));
            if !ready.is_empty() {
                latest = latest.max(ready.iter().map(|record| record.event_time_ms * 1000).max());
                sink(&batch, ready)?;
            }
            rest = later;
        }
    }
    Ok(latest)
}
