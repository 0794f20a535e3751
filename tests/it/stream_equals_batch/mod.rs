//! Stream = batch: random queries over random rows answer the same as a stream, however that is cut, interleaved, undone and restarted,
//! as in batch over everything at once, and as in DuckDB, which knows nothing of us.
//!
//! By hand: `TOUCHLINE_TEST_RANDOM_CASES` = how many, `TOUCHLINE_TEST_RANDOM_SEED` = the first seed. A case that fails is made small and
//! printed as a text; `TOUCHLINE_TEST_RANDOM_FILE` = a file with such a text runs it again.

mod answer;
mod choices;
mod drive;
mod duckdb;
mod expression;
mod query;
mod rows;
mod script;
mod shrink;
mod sql;
mod text;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use libtest_mimic::{Failed, Trial};

use self::answer::difference;
use self::choices::Choices;
use self::drive::{Case, Failure, Fault};
use self::duckdb::DuckDb;
use self::query::Query;
use self::rows::Rows;
use self::script::Script;
use self::shrink::{Made, shrink};
use crate::services::{Need, Outcome, trial};

/// Cases of a run of all tests.
const CASES: u64 = 1_000;
/// Ways in which each case is run as a stream.
const SCRIPTS: u64 = 3;
/// Failing cases that are shown: a fault seldom comes alone, and each takes a while to be made small.
const SHOWN_MAX: usize = 5;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("stream_equals_batch::random_queries_as_streams_and_in_batch", &[], || all(Against::Streams)),
        trial("stream_equals_batch::random_queries_in_batch_and_in_duckdb", &[Need::Python], || all(Against::DuckDb)),
        trial("stream_equals_batch::a_case_that_is_printed_is_read_again", &[], text::is_read_again),
    ]
}

/// What the batch is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Against {
    Streams,
    DuckDb,
}

/// The numbers of a setting, or those of a run of all tests.
fn setting(name: &str, otherwise: u64) -> Result<u64, Failed> {
    match std::env::var(name) {
        Ok(value) => value.parse().map_err(|_| format!("{name} is {value:?}, which is no number").into()),
        Err(_) => Ok(otherwise),
    }
}

fn all(against: Against) -> Outcome {
    if let Ok(file) = std::env::var("TOUCHLINE_TEST_RANDOM_FILE") {
        return text::run(&std::fs::read_to_string(file)?, against);
    }
    let first = setting("TOUCHLINE_TEST_RANDOM_SEED", 0)?;
    let cases = setting("TOUCHLINE_TEST_RANDOM_CASES", CASES)?;
    let next = AtomicU64::new(first);
    let found = Mutex::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let ended: Vec<Outcome> = std::thread::scope(|scope| {
        let work = || {
            let mut runner = Runner::new(against)?;
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                let full = || found.lock().is_ok_and(|found| *found >= SHOWN_MAX);
                if seed >= first.saturating_add(cases) || full() {
                    return Ok(());
                }
                if let Some(report) = runner.report(seed) {
                    eprintln!("{report}\n");
                    *found.lock().map_err(|_| "another thread has failed")? += 1;
                }
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a thread has failed".into()))).collect()
    });
    ended.into_iter().collect::<Outcome>()?;
    match found.into_inner().unwrap_or_default() {
        0 => Ok(()),
        found => Err(format!("{found} cases failed; each stands above, with a text that runs it again").into()),
    }
}

/// Runs cases one after the other.
struct Runner {
    runtime: tokio::runtime::Runtime,
    duckdb: Option<DuckDb>,
}

impl Runner {
    fn new(against: Against) -> Result<Self, Failed> {
        // One thread: a case must come the same again.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let duckdb = match against {
            Against::Streams => None,
            Against::DuckDb => Some(DuckDb::start()?),
        };
        Ok(Runner { runtime, duckdb })
    }

    /// What is wrong with the cases of a seed, made small; `None` where nothing is.
    fn report(&mut self, seed: u64) -> Option<String> {
        let scripts = if self.duckdb.is_some() { 1 } else { SCRIPTS };
        for script in 0..scripts {
            let mut made = drawn(seed, script);
            let Err(failure) = self.run(&mut made) else { continue };
            let small = shrink(made.made(), |made| {
                self.run(&mut Drawn::again(made)).is_err_and(|other| other.fault == failure.fault)
            });
            let mut again = Drawn::again(&small);
            let failure = self.run(&mut again).err().unwrap_or(failure);
            return Some(format!("seed {seed}: {:?}\n{}\n{}", failure.fault, failure.text, again.text));
        }
        None
    }

    /// Runs one case, whose text is left in `drawn`.
    fn run(&mut self, drawn: &mut Drawn) -> Result<(), Failure> {
        // A panic is a failure like any other, and is made small like any other.
        let run = catch_unwind(AssertUnwindSafe(|| self.run_once(drawn)));
        run.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(Failure::new(Fault::Failed, format!("panic: {}", text.unwrap_or_default())))
        })
    }

    fn run_once(&mut self, drawn: &mut Drawn) -> Result<(), Failure> {
        let (query, choices) = Query::draw(std::mem::replace(&mut drawn.query, Choices::again(&[])));
        drawn.query = choices;
        let rows = Rows::draw(&mut drawn.rows, query.rows);
        drawn.text = text::shown(&query.text, query.duckdb.as_deref(), &rows, None);
        let case = Case::new(&query.text, rows)?;
        let batch = match self.runtime.block_on(case.batch()) {
            Err(failure) if failure.text.contains(NOT_PLANNED) => return Ok(()),
            batch => batch?,
        };
        if let Some(duckdb) = &mut self.duckdb {
            let Some(question) = &query.duckdb else { return Ok(()) };
            let Some(answer) = duckdb.answer(question, &case.rows)? else { return Ok(()) };
            return compared(difference(&answer, &batch, ["DuckDB", "batch"]));
        }
        let difference = self.runtime.block_on(async {
            let pipeline = case.planned(touchline::pipeline::PlanSettings { partitions: 1, wide_rows: 1 }).await?;
            let sources = case.sources(&pipeline);
            let sizes: Vec<Vec<usize>> =
                sources.iter().map(|partitions| partitions.iter().map(Vec::len).collect()).collect();
            let script = Script::draw(&mut drawn.script, &sizes);
            drawn.text = text::shown(&query.text, query.duckdb.as_deref(), &case.rows, Some(&script));
            case.compared(&script, batch).await
        });
        compared(difference?)
    }
}

/// What DataFusion 55 says of some plans of its own, above all of an aggregate that is ordered by a constant over a join: there is no
/// batch to compare with.
const NOT_PLANNED: &str = "does not satisfy order requirements";

fn compared(difference: Option<String>) -> Result<(), Failure> {
    difference.map_or(Ok(()), |difference| Err(Failure::new(Fault::Differs, difference)))
}

/// What a case is drawn from, and its text once it has been drawn.
struct Drawn {
    query: Choices,
    rows: Choices,
    script: Choices,
    text: String,
}

/// The case of a seed, as the stream that one of its scripts makes of it.
fn drawn(seed: u64, script: u64) -> Drawn {
    // Seeds of neighbours are far from each other.
    let of = |part: u64| Choices::random(seed.wrapping_mul(1_000_003).wrapping_add(part));
    Drawn { query: of(0), rows: of(1), script: of(2 + script), text: String::new() }
}

impl Drawn {
    fn again(made: &Made) -> Self {
        Drawn {
            query: Choices::again(&made.query),
            rows: Choices::again(&made.rows),
            script: Choices::again(&made.script),
            text: String::new(),
        }
    }

    fn made(self) -> Made {
        Made { query: self.query.made(), rows: self.rows.made(), script: self.script.made() }
    }
}
