//! The last line of memory: what the process has in RAM, whoever counts it or not. Ad-hoc work goes before the kernel ends everything.
//!
//! Every reservation is an estimate. Ten times a second the process looks at itself: from a soft limit on no statement begins, and at
//! the hard limit the one with the largest share is ended, then the next, until there is room again.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use datafusion::execution::memory_pool::MemoryPool;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::warn;

use super::share::Share;
use crate::admin::metrics::resident_bytes;
use crate::error::{Error, Result};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Looks after a statement was ended before the next one is: its memory takes a moment to go back.
const LOOKS_BETWEEN: u32 = 10;
/// The hard limit where none is configured, as a share of what there is, and the soft one as a share of that.
const TENTHS: u64 = 9;

/// Whether there is memory for ad-hoc work.
#[derive(Debug)]
pub(super) struct Pressure {
    level: Arc<Level>,
    limits: Option<Limits>,
    refused: AtomicUsize,
}

/// Written by the watch.
#[derive(Debug, Default)]
struct Level {
    is_short: AtomicBool,
}

/// Bytes of the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    soft: u64,
    hard: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fine,
    NoMore,
    EndLargest,
}

impl Limits {
    /// `configured`: 0 is nine tenths of `there`. `None` where nobody knows what there is.
    fn of(configured: u64, there: Option<u64>) -> Option<Self> {
        let hard = match configured {
            0 => there? / 10 * TENTHS,
            configured => configured,
        };
        Some(Limits { soft: hard / 10 * TENTHS, hard })
    }

    fn judge(self, resident: u64) -> Verdict {
        match resident {
            bytes if bytes >= self.hard => Verdict::EndLargest,
            bytes if bytes >= self.soft => Verdict::NoMore,
            _ => Verdict::Fine,
        }
    }
}

impl Pressure {
    /// Looks for as long as there are `statements` to end. `bytes_max`: as `adhoc.process_bytes_max`.
    ///
    /// # Errors
    /// `Unavailable` if no thread can be had.
    pub(super) fn watch(bytes_max: usize, statements: Weak<Statements>) -> Result<Self> {
        let limits = Limits::of(u64::try_from(bytes_max).unwrap_or(u64::MAX), memory_there());
        let level = Arc::<Level>::default();
        if let Some(limits) = limits {
            let level = Arc::clone(&level);
            // A thread of its own: those of a runtime may all be busy with what is to be ended.
            thread::Builder::new().name("memory".to_owned()).spawn(move || look(limits, &level, &statements))?;
        }
        Ok(Pressure { level, limits, refused: AtomicUsize::new(0) })
    }

    /// # Errors
    /// `OverBudget` while the process' memory is short.
    pub(super) fn check(&self) -> Result<()> {
        if !self.level.is_short.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        let soft = self.limits.map_or(0, |limits| limits.soft);
        Err(Error::over_budget("the process has too little memory left for ad-hoc statements")
            .detail(format!("it takes more than {soft} bytes, nine tenths of adhoc.process_bytes_max"))
            .hint("try again later; where that does not help, lower engine.state_bytes_max or give the server more memory"))
    }

    /// Statements that were turned away since the start.
    pub(super) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

fn look(limits: Limits, level: &Level, statements: &Weak<Statements>) {
    let mut wait = 0;
    loop {
        thread::sleep(LOOK_EVERY);
        let Some(statements) = statements.upgrade() else { return };
        let verdict = resident_bytes().map_or(Verdict::Fine, |resident| limits.judge(resident));
        level.is_short.store(verdict != Verdict::Fine, Ordering::Relaxed);
        wait = match verdict {
            Verdict::EndLargest if wait == 0 && statements.evict_largest(limits.hard) => LOOKS_BETWEEN,
            _ => u32::saturating_sub(wait, 1),
        };
    }
}

/// Bytes that this process can have: those of the machine, or of its control group.
fn memory_there() -> Option<u64> {
    let meminfo = read_to_string("/proc/meminfo").ok();
    let machine = meminfo.and_then(|text| total_of(&text));
    // The second is that of version 1, whose "no limit" is a number beyond any machine.
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let groups = groups.into_iter().filter_map(|path| read_to_string(path).ok()?.trim().parse().ok());
    groups.chain(machine).min()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The statements that run, of which the largest goes first.
#[derive(Debug, Default)]
pub(super) struct Statements {
    running: Mutex<Running>,
    evictions: AtomicUsize,
}

#[derive(Debug, Default)]
struct Running {
    entered: u64,
    shares: BTreeMap<u64, Evictable>,
}

#[derive(Debug)]
struct Evictable {
    share: Arc<Share>,
    evict: Arc<Eviction>,
}

#[derive(Debug, Default)]
struct Eviction {
    /// Bytes of the limit that was reached.
    limit: Mutex<u64>,
    now: Notify,
}

/// A statement among those that run.
#[derive(Debug)]
pub(super) struct Entered {
    statements: Arc<Statements>,
    key: u64,
    evict: Arc<Eviction>,
}

impl Statements {
    pub(super) fn enter(self: &Arc<Self>, share: &Arc<Share>) -> Entered {
        let evict = Arc::<Eviction>::default();
        let mut running = self.running.lock();
        running.entered += 1;
        let key = running.entered;
        running.shares.insert(key, Evictable { share: Arc::clone(share), evict: Arc::clone(&evict) });
        drop(running);
        Entered { statements: Arc::clone(self), key, evict }
    }

    /// Statements that were ended since the start.
    pub(super) fn evictions(&self) -> usize {
        self.evictions.load(Ordering::Relaxed)
    }

    /// False where none runs.
    fn evict_largest(&self, limit: u64) -> bool {
        let running = self.running.lock();
        let Some(largest) = running.shares.values().max_by_key(|statement| statement.share.reserved()) else {
            return false;
        };
        let bytes = largest.share.reserved();
        warn!(limit, bytes, "the process' memory runs out: the largest ad-hoc statement is ended");
        *largest.evict.limit.lock() = limit;
        largest.evict.now.notify_one();
        self.evictions.fetch_add(1, Ordering::Relaxed);
        true
    }
}

impl Entered {
    /// Waits until the statement has to go, and says why.
    pub(super) async fn evicted(&self) -> Error {
        self.evict.now.notified().await;
        let limit = *self.evict.limit.lock();
        Error::over_budget("the statement was ended because the process' memory ran out")
            .detail(format!("the process reached {limit} bytes, and of all ad-hoc statements this one held most"))
            .hint("read fewer rows or columns, or aggregate them first; adhoc.process_bytes_max is the limit")
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.statements.running.lock().shares.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer};
    use futures::FutureExt;

    use super::*;

    #[test]
    fn nine_tenths_of_what_there_is_are_the_end_and_nine_tenths_of_that_are_enough() {
        let limits = Limits::of(0, Some(1_000)).expect("limits");
        assert_eq!(limits, Limits { soft: 810, hard: 900 });
        for (resident, verdict) in [
            (0, Verdict::Fine),
            (809, Verdict::Fine),
            (810, Verdict::NoMore),
            (899, Verdict::NoMore),
            (900, Verdict::EndLargest),
        ] {
            assert_eq!(limits.judge(resident), verdict, "{resident}");
        }
        assert_eq!(Limits::of(100, Some(1_000)), Some(Limits { soft: 90, hard: 100 }));
        assert_eq!(Limits::of(0, None), None);
    }

    #[test]
    fn the_machine_says_what_it_has() {
        assert_eq!(total_of("MemFree: 1 kB\nMemTotal:       16 kB\n"), Some(16 * 1024));
        assert_eq!(total_of("MemTotal: many"), None);
    }

    #[test]
    fn the_statement_with_the_largest_share_is_ended_and_no_other() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(100));
        let statements = Arc::<Statements>::default();
        assert!(!statements.evict_largest(7), "none runs");
        let (small, large) = (Share::new(&pool), Share::new(&pool));
        let (first, second) = (statements.enter(&small), statements.enter(&large));
        let (small, large): (Arc<dyn MemoryPool>, Arc<dyn MemoryPool>) = (small, large);
        let held = [(&small, 10), (&large, 20)].map(|(share, bytes)| {
            let held = MemoryConsumer::new("sort").register(share);
            held.try_grow(bytes).expect("it is free");
            held
        });
        assert!(statements.evict_largest(7));
        assert!(first.evicted().now_or_never().is_none());
        let error = second.evicted().now_or_never().expect("it has to go");
        assert!(error.report().contains("reached 7 bytes"), "{}", error.report());
        drop(second);
        assert!(statements.evict_largest(7));
        assert!(first.evicted().now_or_never().is_some());
        assert_eq!(statements.evictions(), 2);
        drop((first, held));
        assert!(statements.running.lock().shares.is_empty());
    }
}
