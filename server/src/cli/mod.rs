//! The command line: one module a command. Results go to standard output, everything else to standard error.

mod ask_status;
mod bad_record;
mod check;
mod demo;
mod demo_ingest;
mod demo_input;
mod infer;
mod keys;
pub mod output;
mod plan;
mod run;
mod serve;
mod simulate;
mod sql;
mod state;
mod status;
mod test;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::{Environment, duration};
use crate::error::{Error, Result};

/// SQL streaming analytics: Kafka topics in; Parquet, Postgres and Arrow Flight SQL out.
#[derive(Debug, Parser)]
#[command(name = "touchline", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a test has failed
  2    the command line is wrong
  64   input or configuration is wrong: see the place and the hint
  69   a service does not answer; trying again may help
  70   a bug
  74   stored data is damaged
  75   a limit was reached, or a disk is full
  78   another server has taken over
  130  ended at once by a second Ctrl-C, 143 by a second SIGTERM, 129 by a second SIGHUP; nothing is lost

`touchline help COMMAND` says more about a command.";

/// What the user asked for.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine with nothing installed: simulated matches, all queries, Flight SQL
    Demo(demo::DemoArgs),
    /// Run the server on a configuration file
    Serve(serve::ServeArgs),
    /// Run statements over files to their end, and print or write the results
    Run(run::RunArgs),
    /// Check schemas and queries without running them
    Check(check::CheckArgs),
    /// Say what a server would do with schemas and queries as they stand, with a verdict on the state of each query
    Plan(plan::PlanArgs),
    /// Run the tests beside the queries, each in many ways
    Test(test::TestArgs),
    /// Write a CREATE TABLE for a file or topic, from a sample of it
    Infer(infer::InferArgs),
    /// Ask a running server by Flight SQL
    Sql(sql::SqlArgs),
    /// Look into the checkpoints of a server: list, show and verify them, give some up, begin a query from one
    State(state::StateArgs),
    /// Say how the queries of a running server are doing
    Status(ask_status::StatusArgs),
    /// Make, list and revoke the keys of those who send records by HTTP
    Keys(keys::KeysArgs),
    /// Write simulated matches and their audience to files, Kafka or the embedded log
    Simulate(simulate::SimulateArgs),
}

/// Bytes of stack of a worker thread; reserved, not used, until a query of many steps needs it. The main thread waits for one.
pub const WORKER_STACK_BYTES: usize = 16 * 1024 * 1024;

/// Threads of a runtime for what blocks: reads of local files, Parquet being written, passwords being checked. They come as they are
/// needed; each keeps a heap of its own, so a moment of trouble must not make hundreds of them.
pub const BLOCKING_THREADS_MAX: usize = 64;

/// How long such a thread stays without work. The longest idle one is woken first, so with tokio's ten seconds a trickle of work would keep
/// all of them, and their heaps.
const BLOCKING_THREAD_IDLE: Duration = Duration::from_millis(100);

/// The whole program. It stands in the library and is called once, so that its futures are compiled here and not a second
/// time in the binary.
pub fn main() -> ExitCode {
    // One provider for all TLS of the process; a second one cannot have been installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let command = parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(WORKER_STACK_BYTES)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_THREAD_IDLE)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let code = runtime.block_on(command.run()).unwrap_or_else(|error| fail(&error));
    // Whatever still runs may be dropped: what counts has been stopped in order, or was told to end at once.
    runtime.shutdown_background();
    code
}

/// Reads the arguments. Ends the process with a message where they are wrong or `--help` is among them.
fn parse() -> Command {
    match Arguments::try_parse() {
        Ok(arguments) => arguments.command,
        // `exit` prints where it belongs and ends with 0 for help and with 2 for a usage error, as people expect.
        Err(error) => error.exit(),
    }
}

impl Command {
    /// # Errors
    /// What ended the command, for [`fail`].
    async fn run(self) -> Result<ExitCode> {
        match self {
            Command::Demo(args) => demo::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Run(args) => run::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::Check(args) => check::run(&args).await,
            Command::Plan(args) => plan::run(&args).await,
            Command::Test(args) => test::run(args).await,
            Command::Infer(args) => infer::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::Sql(args) => sql::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::State(args) => state::run(args).await,
            Command::Status(args) => ask_status::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::Keys(args) => keys::run(args),
            Command::Simulate(args) => simulate::run(&args),
        }
    }
}

/// Prints an error and returns its exit code.
fn fail(error: &Error) -> ExitCode {
    tell(&format!("error: {}", error.report()));
    ExitCode::from(error.kind().exit_code())
}

/// Writes to standard error. Where nobody is there to read it, as after its terminal has gone, the exit code still says the same.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints several errors, in the order of their places; the exit code is that of the first.
fn fail_all(mut errors: Vec<Error>) -> ExitCode {
    errors.sort_by(|a, b| a.location().cmp(&b.location()).then_with(|| a.primary().cmp(b.primary())));
    let code = errors.first().map_or(ExitCode::SUCCESS, |error| ExitCode::from(error.kind().exit_code()));
    for error in &errors {
        tell(&format!("error: {}", error.report()));
    }
    code
}

/// The process's variables that are text.
fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect::<BTreeMap<_, _>>()
}

/// For `--for 30s` and the like.
fn duration_argument(text: &str) -> Result<Duration, String> {
    duration::parse(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Scripts and supervisors rely on them, so both lists hold them all.
    #[test]
    fn the_help_and_the_readme_list_every_exit_code() {
        use crate::error::ErrorKind::{Bug, Corrupt, Fenced, Invalid, OverBudget, Unavailable};
        let readme = include_str!("../../../README.md");
        let kinds = [Invalid, Unavailable, OverBudget, Fenced, Corrupt, Bug];
        let codes = kinds.map(|kind| kind.exit_code()).into_iter().chain([0, 1, 2, 129, 130, 143]);
        for code in codes {
            let word =
                |text: &str| text.split(|char: char| !char.is_ascii_digit()).any(|word| word == code.to_string());
            assert!(word(EXIT_CODES), "{code} is missing in the help");
            let list = readme.lines().find(|line| line.starts_with("Exit codes:")).expect("README.md has the list");
            let list = &readme[readme.find(list).expect("it does")..];
            assert!(word(&list[..list.find("\n\n").unwrap_or(list.len())]), "{code} is missing in README.md");
        }
    }

    #[test]
    fn the_arguments_are_well_formed_and_every_one_has_a_help_text() {
        let command = Arguments::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            for argument in sub.get_arguments().filter(|argument| argument.get_id() != "help") {
                assert!(argument.get_help().is_some(), "{} {}", sub.get_name(), argument.get_id());
            }
        }
    }
}
