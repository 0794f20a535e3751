//! `touchline serve`: the server, until a signal ends it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{environment, fail_all};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::logging;
use crate::server::Server;
use crate::status::QueryState;
use crate::tables::Published;

/// Read when no other is named and it exists.
const DEFAULT_FILE: &str = "touchline.toml";
/// From the first signal to the end, whatever the sinks do: supervisors kill soon after.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at queries that are starting.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
#[command(
    after_help = "SIGTERM or Ctrl-C makes a last checkpoint and ends within 10 seconds; a second one ends at once, which \
    loses nothing either. SIGHUP reads users and certificates anew; under nohup it stays without effect.\nEvery key of the file can also be a variable: TOUCHLINE_<SECTION>_<KEY>."
)]
pub(super) struct ServeArgs {
    /// Configuration file; without it touchline.toml in the working directory, or else the defaults
    #[arg(short, long, value_name = "FILE", env = "TOUCHLINE_CONFIG")]
    config: Option<PathBuf>,
}

pub(super) async fn run(args: ServeArgs) -> Result<ExitCode> {
    let file = config_file(args.config.as_deref());
    let config = match Config::load(file.as_deref(), &environment()) {
        Ok(config) => config,
        Err(errors) => return Ok(fail_all(errors)),
    };
    logging::start(&config.log)?;
    let (mut signals, mut hangups) = (Signals::without_hangup()?, hangups()?);
    let server = tokio::select! {
        // Dropped half-way it leaves no more than a crash would.
        signal = signals.next() => {
            tracing::info!(signal, "ended while it was starting");
            return Ok(ExitCode::SUCCESS);
        }
        started = Server::start(config, Clock::System) => started?,
    };
    tracing::info!(
        flight = %server.flight_addr(),
        http = %server.http_addr(),
        generation = server.generation(),
        postgres = server.postgres_enabled(),
        config = file.as_deref().map_or("defaults", |file| Path::to_str(file).unwrap_or("a file")),
        "serving"
    );
    tokio::spawn(announce(Arc::clone(server.published())));
    loop {
        tokio::select! {
            signal = signals.next() => {
                tracing::info!(signal, "stopping");
                return stop(server, &mut signals).await;
            }
            () = received(&mut hangups) => reload(&server, file.as_deref()),
            fatal = server.fatal() => {
                match fatal.kind() {
                    ErrorKind::Fenced => server.give_way(&fatal).await,
                    // What its parts end with is not why it has to stop.
                    _ => _ = stop(server, &mut signals).await,
                }
                return Err(fatal);
            }
        }
    }
}

/// Reads the configuration again, and takes up its users and certificates; where it is not right, those of before go on.
fn reload(server: &Server, file: Option<&Path>) {
    let taken_up =
        Config::load(file, &environment()).and_then(|config| server.reload(&config).map_err(|error| vec![error]));
    match taken_up {
        Ok(()) => tracing::info!("users and certificates have been read anew"),
        Err(errors) => {
            for error in errors {
                tracing::error!(error = error.report(), "users and certificates stay as they were");
            }
        }
    }
}

/// The configuration file that is meant: the one that is named, or else the one of the working directory.
fn config_file(named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_path_buf).or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists()))
}

/// The configuration of a server that would be started here.
///
/// # Errors
/// Those of [`Config::load`].
pub(super) fn configured(named: Option<&Path>) -> Result<Config, Vec<Error>> {
    Config::load(config_file(named).as_deref(), &environment())
}

/// Says when every query has started: from then on `/readyz` is 200, and all views that can be read are there. Until then
/// statements wait for the view they name.
async fn announce(published: Arc<Published>) {
    let states = loop {
        let states: Vec<QueryState> = published.queries().iter().map(|query| query.get().0).collect();
        if !states.contains(&QueryState::Starting) {
            break states;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let running = states.iter().filter(|state| state.is_well()).count();
    tracing::info!(running, troubled = states.len() - running, "ready");
}

/// Ends the server in order, unless a second signal or the grace period comes first.
pub(super) async fn stop(server: Server, signals: &mut Signals) -> Result<ExitCode> {
    tokio::select! {
        stopped = tokio::time::timeout(STOP_WITHIN, server.stop()) => match stopped {
            Ok(stopped) => stopped.map(|()| ExitCode::SUCCESS),
            Err(_) => Err(Error::unavailable(format!("the server did not stop within {} s", STOP_WITHIN.as_secs()))
                .detail("the last checkpoint stands; what came after it is read again at the next start")),
        },
        signal = signals.next() => {
            super::tell(&format!("{signal} again: ending at once; the last checkpoint stands"));
            Ok(ExitCode::from(killed_by(signal)))
        }
    }
}

/// The signals that ask for an end. From now on they no longer end the process by themselves.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Of a terminal or session that goes; `None` where the process is meant to outlive it, or does something else then.
    hangup: Option<Signal>,
}

impl Signals {
    pub(super) fn new() -> Result<Self> {
        Ok(Signals { hangup: hangups()?, ..Signals::without_hangup()? })
    }

    /// Where a hangup means something else.
    fn without_hangup() -> Result<Self> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Signals { interrupt, terminate, hangup: None })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            () = received(&mut self.hangup) => "SIGHUP",
        }
    }
}

/// `None` where whoever has started the process lets it ignore them.
fn hangups() -> Result<Option<Signal>> {
    // Read before anything is taken over. Where there is no such file, nobody has asked for that.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    Ok(if hangup_is_ignored(&status) { None } else { Some(signal(SignalKind::hangup())?) })
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Whether whoever has started the process let it ignore that its terminal goes, as `nohup` does: that must stay so. `status`: as in
/// `/proc/self/status`.
fn hangup_is_ignored(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// What a shell reports of a process that the signal has killed.
fn killed_by(signal: &str) -> u8 {
    match signal {
        "SIGHUP" => 129,
        "SIGINT" => 130,
        _ => 143,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_under_nohup_outlives_its_terminal() {
        let status = |mask: &str| format!("SigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t0000000000000001\n");
        assert!(hangup_is_ignored(&status("0000000000001001")));
        assert!(!hangup_is_ignored(&status("0000000000001000")));
        assert!(!hangup_is_ignored(""));
    }
}
