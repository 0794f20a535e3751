//! `touchline test`: runs the tests beside the queries, each in many ways, and says what is not as they say.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use tokio::task::JoinSet;

use super::fail_all;
use super::output::StandardOutput;
use crate::cases::{Case, Failure, Outcome, test_files};
use crate::config::LogSettings;
use crate::error::{Error, Result};
use crate::logging;

const AFTER_HELP: &str = "\
A test is a file *.test.sql: SQL, and in a comment the rows that come, the watermarks, and what must come out and when. It is run as
it is written, row by row, cut into other epochs, in other orders, with a restart after every step, with every step undone and run
again, and in batch. tests/cases/README.md says how a test is written.

Ends with 0 when all tests pass, with 1 when something else comes out than one of them says, with 64 when a file cannot be read as a
test.";

/// A test that was not as it says.
const FAILED: u8 = 1;

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct TestArgs {
    /// Tests, or folders that hold some at any depth
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,
}

/// A file, and its test as far as it could be read and run.
type Ran = (String, std::result::Result<(String, Outcome), Vec<Error>>);

/// Runs all tests.
///
/// # Errors
/// `Invalid` where there are none, `Unavailable` where the output cannot be written.
pub(super) async fn run(args: TestArgs) -> Result<ExitCode> {
    logging::start(&LogSettings { level: "warn".to_owned(), ..LogSettings::default() })?;
    let begun = Instant::now();
    let files = args.paths.iter().map(|path| test_files(path)).collect::<Result<Vec<_>>>()?.concat();
    let mut out = StandardOutput::lock();
    let mut totals = Totals::default();
    let side_by_side = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut waiting, mut running) = (files.into_iter().enumerate(), JoinSet::new());
    // What has ended before one that was begun earlier.
    let (mut ended, mut next) = (BTreeMap::<usize, Ran>::new(), 0);
    loop {
        while running.len() < side_by_side
            && let Some((at, file)) = waiting.next()
        {
            running.spawn(async move { (at, ran(file).await) });
        }
        let Some(joined) = running.join_next().await else { break };
        let (at, ran) = joined.map_err(|error| Error::bug("a test has panicked").caused_by(error))?;
        ended.insert(at, ran);
        while let Some(ran) = ended.remove(&next) {
            next += 1;
            totals.add(ran, &mut out)?;
        }
    }
    writeln!(out, "\n{} ({:.1} s)", totals.summary(), begun.elapsed().as_secs_f64())?;
    drop(out);
    let failed = totals.failed > 0;
    if !totals.errors.is_empty() {
        return Ok(fail_all(totals.errors));
    }
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

async fn ran(file: PathBuf) -> Ran {
    let name = file.strip_prefix("./").unwrap_or(&file).display().to_string();
    match Case::read(&file) {
        Ok(case) => {
            let outcome = case.run().await;
            (name, Ok((case.property().to_owned(), outcome)))
        }
        Err(errors) => (name, Err(errors)),
    }
}

#[derive(Debug, Default)]
struct Totals {
    passed: usize,
    failed: usize,
    runs: usize,
    /// Of what could not be read.
    errors: Vec<Error>,
}

impl Totals {
    fn add(&mut self, (name, ran): Ran, out: &mut dyn Write) -> Result<()> {
        match ran {
            Ok((property, Outcome { runs, failures })) => {
                self.runs += runs;
                if failures.is_empty() {
                    self.passed += 1;
                    writeln!(out, "ok      {name}")?;
                    return Ok(());
                }
                self.failed += 1;
                writeln!(out, "FAILED  {name}\n        {property}")?;
                failures.iter().map(Failure::to_string).try_for_each(|failure| writeln!(out, "\n{failure}\n"))?;
            }
            Err(errors) => {
                writeln!(out, "WRONG   {name}")?;
                self.errors.extend(errors);
            }
        }
        Ok(())
    }

    /// `3 of 4 tests have passed, in 31 runs`
    fn summary(&self) -> String {
        let all = self.passed + self.failed;
        let what = match (all, self.failed) {
            (1, 0) => "1 test has passed".to_owned(),
            (all, 0) => format!("{all} tests have passed"),
            (all, failed) => {
                format!("{failed} of {all} tests {}", if failed == 1 { "has failed" } else { "have failed" })
            }
        };
        format!("{what}, in {} runs", self.runs)
    }
}
