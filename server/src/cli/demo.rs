//! `touchline demo`: simulated matches into the embedded log, every query of the folder, and how they are doing.

use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, MissedTickBehavior};

use super::demo_ingest::{first_key, shown};
use super::demo_input::Simulated;
use super::serve::{Signals, stop};
use super::status::{Reading, block, line};
use super::{duration_argument, environment, fail_all};
use crate::catalog::OnChange;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::logging;
use crate::server::Server;
use crate::status::QueryState;
use crate::tables::Published;

/// A redrawn block may change often; a line in a log may not.
const REDRAW_EVERY: Duration = Duration::from_millis(500);
const LINE_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(after_help = "Where TOUCHLINE_POSTGRES_URL is set, the hot tables appear there, too.\n\
    A second start on the same folder continues where the first has ended.")]
pub(super) struct DemoArgs {
    /// End after this time, for example 30s or 5m; without it Ctrl-C ends the demo
    #[arg(long = "for", value_name = "TIME", value_parser = duration_argument)]
    limit: Option<Duration>,
    /// Folder for the embedded log, tables and checkpoints
    #[arg(long, value_name = "DIR", default_value = "touchline-data")]
    data_dir: PathBuf,
    /// Folder with the declared tables
    #[arg(long, value_name = "DIR", default_value = "schemas")]
    schemas: PathBuf,
    /// Folder with the continuous queries
    #[arg(long, value_name = "DIR", default_value = "queries")]
    queries: PathBuf,
    /// Port of Flight SQL on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 31337)]
    flight_port: u16,
    /// Port of health, metrics and records by HTTP on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    http_port: u16,
    /// Match minutes that pass in a minute, until the matches have caught up with the clock
    #[arg(long, value_name = "FACTOR", default_value_t = 60.0, value_parser = speed)]
    speed: f64,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "write a number, as in 1 or 60".to_owned())?;
    if speed.is_finite() && (0.01..=10_000.0).contains(&speed) {
        Ok(speed)
    } else {
        Err("write a number between 0.01 and 10000".to_owned())
    }
}

pub(super) async fn run(args: DemoArgs) -> Result<ExitCode> {
    let mut config = match Config::parse("", "", &environment()) {
        Ok(config) => config,
        Err(errors) => return Ok(fail_all(errors)),
    };
    for (folder, option) in [(&args.schemas, "--schemas"), (&args.queries, "--queries")] {
        if !folder.is_dir() {
            return Err(Error::invalid(format!("there is no folder {}", folder.display())).hint(format!(
                "start the demo where the folders schemas/ and queries/ are, or name one with {option}"
            )));
        }
    }
    config.kafka.brokers = "embedded".to_owned();
    // Two matches are two keys: partitions without one would hold every watermark back until they count as idle.
    config.embedded_log.partitions = 1;
    config.data_dir = args.data_dir.clone();
    config.catalog.schemas_dir = args.schemas.clone();
    config.catalog.queries_dir = args.queries.clone();
    config.flight.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, args.flight_port));
    config.http.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, args.http_port));
    let keys_file = config.auth.keys_file.get_or_insert_with(|| args.data_dir.join("keys.json")).clone();
    if !environment().contains_key("TOUCHLINE_ENGINE_ON_CHANGE") {
        // Whoever tries a query here wants to see what it gives, not to be asked.
        config.engine.on_change = OnChange::NewVersion;
    }
    if config.log.level == "info" {
        // The status says what is going on; the log speaks up only when something is wrong.
        config.log.level = "warn".to_owned();
    }
    logging::start(&config.log)?;

    let started = Instant::now();
    let mut signals = Signals::new()?;
    let server = tokio::select! {
        signal = signals.next() => {
            print(&format!("{signal}: ended while it was starting\n"));
            return Ok(ExitCode::SUCCESS);
        }
        started = Server::start(config, Clock::System) => started.map_err(name_options)?,
    };
    let log = server.embedded().ok_or_else(|| Error::bug("the demo has no embedded log"))?;
    let mut simulation = Simulated::start(log, Clock::System, args.speed)?;
    let terminal = std::io::stdout().is_terminal();
    let now = Clock::System.now();
    // Once the storage is this server's, so that a start that fails shows no key.
    let key = first_key(&keys_file, now)?;
    print(&welcome(&server, &args.data_dir, started.elapsed()));
    print(&shown(server.published(), server.http_addr(), &keys_file, key.as_deref(), now));

    let end = args.limit.map(|limit| started + limit);
    let mut display = Display::new(Arc::clone(server.published()), terminal);
    let ended = tokio::select! {
        signal = signals.next() => Ok(signal),
        () = at(end) => Ok("the time is up"),
        failed = simulation.ended() => failed.map(|()| "the simulation has ended"),
        fatal = server.fatal() => Err(fatal),
        () = display.run(started) => Ok("the display has ended"),
    };
    drop(simulation);
    display.draw(started.elapsed());
    let ended = match ended {
        Err(fatal) if fatal.kind() == ErrorKind::Fenced => {
            server.give_way(&fatal).await;
            return Err(fatal);
        }
        ended => ended,
    };
    print(&format!("{}; stopping with a last checkpoint …\n", ended.as_deref().unwrap_or("the demo failed")));
    let stopped = stop(server, &mut signals).await;
    // Why it had to end comes before what ending it has run into.
    ended?;
    let code = stopped.map_err(|error| with_cause(error, &display.published))?;
    print(&format!("stopped; start again with the same --data-dir ({}) to continue\n", args.data_dir.display()));
    Ok(code)
}

/// The error with why a query is in trouble, where one is: that was said long ago, and is most likely the reason.
fn with_cause(error: Error, published: &Published) -> Error {
    let troubled = published.queries().into_iter().find_map(|query| match query.get() {
        (QueryState::Failed | QueryState::Degraded, Some(reason)) => {
            Some(format!("query \"{}\": {reason}", query.name))
        }
        _ => None,
    });
    match troubled {
        Some(reason) => error.caused_by(reason),
        None => error,
    }
}

async fn at(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// An occupied port is named by a setting; here it has an option.
fn name_options(error: Error) -> Error {
    match error.hint_text() {
        Some(hint) if hint.contains(".listen") => {
            let hint = hint.replace("flight.listen", "--flight-port").replace("http.listen", "--http-port");
            error.hint(hint)
        }
        _ => error,
    }
}

fn welcome(server: &Server, data_dir: &Path, took: Duration) -> String {
    let flight = server.flight_addr();
    let views: Vec<String> = server.published().views().iter().map(|view| view.name.clone()).collect();
    let view = views.iter().find(|name| !name.starts_with("touchline.")).map_or("momentum_5m", String::as_str);
    let postgres =
        if server.postgres_enabled() { "on, from TOUCHLINE_POSTGRES_URL" } else { "off; set TOUCHLINE_POSTGRES_URL" };
    format!(
        "touchline is up after {:.1} s\n\n\
         \x20 Flight SQL   grpc://{flight}\n\
         \x20 HTTP         http://{}/readyz  /healthz  /metrics\n\
         \x20 Parquet      {}/tables/<view>/\n\
         \x20 Postgres     {postgres}\n\n\
         Ask it:\n\
         \x20 touchline sql --url grpc://{flight} -c 'SELECT * FROM {view} LIMIT 10'\n\n\
         From Python (pip install adbc-driver-flightsql pyarrow):\n\
         \x20 import adbc_driver_flightsql.dbapi as flight_sql\n\
         \x20 with flight_sql.connect(\"grpc://{flight}\") as connection, connection.cursor() as cursor:\n\
         \x20     cursor.execute(\"SELECT * FROM {view} LIMIT 10\")\n\
         \x20     print(cursor.fetch_arrow_table())\n\n",
        took.as_secs_f64(),
        server.http_addr(),
        data_dir.display(),
    )
}

/// A reader that has gone away, as `head` does, is no reason to stop.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// How the queries are doing: a block that is drawn over itself at a terminal, a line now and then elsewhere.
struct Display {
    published: Arc<Published>,
    terminal: bool,
    last: Reading,
    /// Lines of the block on the screen, to go back over.
    drawn: usize,
}

impl Display {
    fn new(published: Arc<Published>, terminal: bool) -> Self {
        let last = Reading::take(&published, Duration::ZERO);
        Display { published, terminal, last, drawn: 0 }
    }

    async fn run(&mut self, started: Instant) {
        let mut ticks = tokio::time::interval(if self.terminal { REDRAW_EVERY } else { LINE_EVERY });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.draw(started.elapsed());
        }
    }

    fn draw(&mut self, elapsed: Duration) {
        let now = Reading::take(&self.published, elapsed);
        if self.terminal {
            let colours = logging::colours(true, std::env::var_os("NO_COLOR").as_deref());
            let lines = block(&now, &self.last, colours);
            let back = if self.drawn > 0 { format!("\x1b[{}A\x1b[J", self.drawn) } else { String::new() };
            print(&format!("{back}{}\n", lines.join("\n")));
            self.drawn = lines.len();
        } else {
            print(&format!("{}\n", line(&now, &self.last)));
            for query in now.queries.iter().filter(|query| query.state.has_ended_by_error()) {
                print(&format!(
                    "  {} is {}: {}\n",
                    query.name,
                    query.state.name(),
                    query.reason.as_deref().unwrap_or("no reason given")
                ));
            }
        }
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::QueryStatus;

    /// What was said of it stands far above by then.
    #[test]
    fn the_last_line_of_a_demo_that_cannot_stop_says_why() {
        let published = Published::default();
        let error = || Error::unavailable("the server did not stop within 10 s").detail("the last checkpoint stands");
        assert_eq!(with_cause(error(), &published).report(), error().report());
        for (name, state, reason) in [
            ("well", QueryState::Running, None),
            ("kept", QueryState::Degraded, Some("cannot write file:///data/x\n  hint: its disk is full")),
        ] {
            let status = Arc::new(QueryStatus::new(name, "test.sql"));
            published.put_query(Arc::clone(&status));
            status.set(state, reason.map(str::to_owned));
        }
        let report = with_cause(error(), &published).report();
        assert!(report.ends_with("query \"kept\": cannot write file:///data/x\n  hint: its disk is full"), "{report}");
    }
}
