//! `touchline simulate`: matches and their audience to files, to Kafka or to the embedded log, with the right answers.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;

use super::{duration_argument, environment};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::simulate::output::{Destination, Writing, Written, run as write_all};
use crate::simulate::{Class, Profile, Simulation, SimulationSettings, Spellings, Topic};

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct SimulateArgs {
    /// Where to write: DIR, kafka://HOST:PORT[,HOST:PORT][/PREFIX] or embedded[:DATA_DIR]
    #[arg(long, value_name = "TARGET")]
    to: To,
    /// How much of everything
    #[arg(long, value_enum, default_value = "smoke")]
    profile: Profile,
    /// The same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Matches at the same time, 1 to 50
    #[arg(long, value_name = "N", default_value_t = 1)]
    matches: usize,
    /// Viewers of all matches together [default: 1000 for smoke, else 100000]
    #[arg(long, value_name = "N")]
    viewers: Option<usize>,
    /// The first kick-off, RFC 3339 [default: 2026-01-10T15:00:00Z]
    #[arg(long, value_name = "TIME", value_parser = time)]
    start: Option<i64>,
    /// Begin so long after the first kick-off, for example 22m
    #[arg(long, value_name = "TIME", value_parser = duration_argument)]
    from: Option<Duration>,
    /// End after so much of the match, for example 4m
    #[arg(long = "for", value_name = "TIME", value_parser = duration_argument)]
    length: Option<Duration>,
    /// Match seconds a second, never ahead of the clock; 0 is as fast as possible
    #[arg(long, value_name = "FACTOR", default_value_t = 0.0, value_parser = speed)]
    speed: f64,
    /// Files a topic, and partitions of topics that do not exist yet
    #[arg(long, value_name = "N", default_value_t = 1)]
    partitions: u32,
    /// How fields, types and teams are spelt
    #[arg(long, value_enum, default_value = "snake")]
    spelling: Spellings,
    /// Open apps say so every 30 seconds: some 140 records more for each viewer of a match
    #[arg(long)]
    heartbeats: bool,
    /// Share of records that are followed by a spoilt copy [default: 0.02 for smoke, else 0.0005]
    #[arg(long, value_name = "SHARE")]
    dirt: Option<f64>,
    /// Which records to write; the truth is always that of all
    #[arg(long, value_enum, value_delimiter = ',', default_value = "punctual,late")]
    rows: Vec<Class>,
    /// End each partition with a record an hour after the last event, so that all windows close
    #[arg(long)]
    seal: bool,
    /// Folder for the truth files [default: DIR/truth, none for Kafka and the embedded log]
    #[arg(long, value_name = "DIR")]
    truth: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Topics: match-events, engagements, live-matches, player-live-stats, team-live-stats. A folder gets
TOPIC/00.ndjson, one file a partition, and teams.csv and players.csv to look up. The truth files say what
each query of queries/ must answer, and which records are late or unreadable and why.
server/docs/simulator.md describes all of it.

Examples:
  touchline simulate --to match
  touchline simulate --profile standard --matches 4 --partitions 8 --to kafka://localhost:9092
  touchline simulate --profile stress --from 15m --for 4m --speed 1 --to embedded:touchline-data

To know exactly which records are late, write twice: --rows punctual --seal, and when all of that has been
read, --rows late. How to log in to Kafka is taken from TOUCHLINE_KAFKA_SECURITY_PROTOCOL and the like.";

/// `--to`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum To {
    Folder(PathBuf),
    Kafka { brokers: String, prefix: String },
    Embedded(PathBuf),
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("kafka://") {
            let (brokers, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let well_formed = |broker: &str| {
                broker.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            };
            if !brokers.split(',').all(well_formed) {
                return Err("write kafka://HOST:PORT, as in kafka://localhost:9092".to_owned());
            }
            return Ok(To::Kafka { brokers: brokers.to_owned(), prefix: prefix.to_owned() });
        }
        match text.split_once(':') {
            _ if text.is_empty() => Err("write a folder, kafka://HOST:PORT or embedded".to_owned()),
            None if text == "embedded" => Ok(To::Embedded("touchline-data".into())),
            Some(("embedded", "")) => Err("name the data directory, as in embedded:touchline-data".to_owned()),
            Some(("embedded", data_dir)) => Ok(To::Embedded(data_dir.into())),
            Some((scheme, rest)) if rest.starts_with("//") => {
                Err(format!("{scheme}:// is not a target; write a folder, kafka://HOST:PORT or embedded"))
            }
            _ => Ok(To::Folder(text.into())),
        }
    }
}

fn time(text: &str) -> Result<i64, String> {
    chrono::DateTime::parse_from_rfc3339(text)
        .map(|time| time.timestamp_micros())
        .map_err(|error| format!("{error}; write it as 2026-01-10T15:00:00Z"))
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "write a number, as in 1 or 60".to_owned())?;
    if speed == 0.0 || (speed.is_finite() && (0.01..=10_000.0).contains(&speed)) {
        Ok(speed)
    } else {
        Err("write 0, or a number between 0.01 and 10000".to_owned())
    }
}

impl SimulateArgs {
    fn settings(&self) -> SimulationSettings {
        let defaults = SimulationSettings::new(self.profile, self.seed);
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let from = self.from.map_or(defaults.span_ms.start, ms);
        // Without a beginning the time runs from where the profile begins.
        let begin = self.from.map_or(-defaults.warm_up_ms(), ms);
        let until = self.length.map_or(defaults.span_ms.end, |length| begin.saturating_add(ms(length)));
        SimulationSettings {
            span_ms: from..until,
            matches: self.matches,
            viewers: self.viewers.unwrap_or(defaults.viewers),
            start: self.start.unwrap_or(defaults.start),
            dirt: self.dirt.unwrap_or(defaults.dirt),
            spelling: self.spelling,
            heartbeats: self.heartbeats,
            ..defaults
        }
    }

    fn destination(&self) -> Result<Destination, Vec<Error>> {
        Ok(match &self.to {
            To::Folder(folder) => Destination::Folder(folder.clone()),
            To::Embedded(data_dir) => Destination::Embedded(data_dir.clone()),
            To::Kafka { brokers, prefix } => {
                let mut settings = Config::parse("", "", &environment())?.kafka;
                settings.brokers.clone_from(brokers);
                Destination::Kafka { settings, prefix: prefix.clone() }
            }
        })
    }
}

/// Blocks until all is written.
pub(super) fn run(args: &SimulateArgs) -> Result<ExitCode> {
    let to = match args.destination() {
        Ok(to) => to,
        Err(errors) => return Ok(super::fail_all(errors)),
    };
    let writing = Writing {
        partitions: args.partitions,
        speed: args.speed,
        classes: args.rows.clone(),
        seal: args.seal,
        truth: args.truth.clone(),
    };
    let settings = args.settings();
    let mut progress = Progress::new(std::io::stderr().is_terminal(), settings.start / 1000);
    print(&goals(&Simulation::goals_ms(&settings)?));
    let result = write_all(&settings, &to, &writing, &Clock::System, &mut |written| {
        progress.show(written);
        ControlFlow::Continue(())
    });
    progress.end();
    let written = result?;
    for (topic, records) in Topic::ALL.iter().zip(written.records) {
        println!("{}: {records} records", topic.name());
    }
    Ok(ExitCode::SUCCESS)
}

/// How far the simulation has got, on standard error: one line that changes on a terminal, a line now and then elsewhere.
struct Progress {
    terminal: bool,
    kick_off_ms: i64,
    began: Instant,
    shown: Instant,
    last: u64,
    drawn: bool,
}

const REDRAW_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(5);

impl Progress {
    fn new(terminal: bool, kick_off_ms: i64) -> Self {
        let now = Instant::now();
        Progress { terminal, kick_off_ms, began: now, shown: now, last: 0, drawn: false }
    }

    fn show(&mut self, written: &Written) {
        let (now, every) = (Instant::now(), if self.terminal { REDRAW_EVERY } else { LINE_EVERY });
        let passed = now - self.shown;
        if passed < every {
            return;
        }
        let rate = (written.all() - self.last) as f64 / passed.as_secs_f64();
        (self.shown, self.last) = (now, written.all());
        let text = line(written, self.kick_off_ms, rate, now - self.began);
        if self.terminal {
            print(&format!("\r{text}\x1b[K"));
            self.drawn = true;
        } else {
            print(&format!("{text}\n"));
        }
    }

    /// Takes the line away: the counts follow.
    fn end(&mut self) {
        if std::mem::take(&mut self.drawn) {
            print("\r\x1b[K");
        }
    }
}

/// A reader that has gone away is no reason to stop.
fn print(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// When there will be something to see.
fn goals(at_ms: &[i64]) -> String {
    let times: Vec<String> = at_ms.iter().map(|ms| clock(ms / 1000)).collect();
    match times.len() {
        0 => "there will be no goal\n".to_owned(),
        1..GOALS_SHOWN => format!("goals fall {} after the kick-off\n", times.join(", ")),
        all => format!("{all} goals fall, the first {} after the kick-off\n", times[..GOALS_SHOWN].join(", ")),
    }
}

const GOALS_SHOWN: usize = 12;

fn clock(seconds: i64) -> String {
    format!("{}{}:{:02}", if seconds < 0 { "-" } else { "" }, seconds.abs() / 60, seconds.abs() % 60)
}

fn line(written: &Written, kick_off_ms: i64, rate: f64, running: Duration) -> String {
    let clock = clock((written.at_ms - kick_off_ms) / 1000);
    let length = (written.end_ms - kick_off_ms) / 60_000;
    format!(
        "match clock {clock} of {length} min, {} records, {} a second, {} s",
        grouped(written.all()),
        grouped(rate as u64),
        running.as_secs()
    )
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // What can be written after --to, and what is said of anything else.
    #[test]
    fn targets() {
        let kafka = |brokers: &str, prefix: &str| To::Kafka { brokers: brokers.into(), prefix: prefix.into() };
        for (text, to) in [
            ("data", To::Folder("data".into())),
            ("./a:b", To::Folder("./a:b".into())),
            ("embedded", To::Embedded("touchline-data".into())),
            ("embedded:/var/lib/touchline", To::Embedded("/var/lib/touchline".into())),
            ("kafka://localhost:9092", kafka("localhost:9092", "")),
            ("kafka://a:1,[::1]:2/test-", kafka("a:1,[::1]:2", "test-")),
        ] {
            assert_eq!(text.parse::<To>(), Ok(to));
        }
        for (text, said) in [
            ("", "write a folder, kafka://HOST:PORT or embedded"),
            ("kafka://", "write kafka://HOST:PORT, as in kafka://localhost:9092"),
            ("kafka://localhost/x", "write kafka://HOST:PORT, as in kafka://localhost:9092"),
            ("http://x", "http:// is not a target; write a folder, kafka://HOST:PORT or embedded"),
            ("embedded:", "name the data directory, as in embedded:touchline-data"),
        ] {
            assert_eq!(text.parse::<To>(), Err(said.to_owned()));
        }
        assert_eq!(speed("0"), Ok(0.0));
        assert!(["-1", "nan", "fast", "1e9"].iter().all(|text| speed(text).is_err()));
    }

    #[test]
    fn progress_is_readable() {
        let records = [1_200_000, 34_567, 0, 0, 0];
        let written = Written { records, at_ms: 1_000_000, end_ms: 7_000_000 };
        let said = line(&written, 910_000, 812_000.4, Duration::from_millis(1_700));
        assert_eq!(said, "match clock 1:30 of 101 min, 1,234,567 records, 812,000 a second, 1 s");
        assert_eq!(goals(&[]), "there will be no goal\n");
        assert_eq!(goals(&[191_000, 2_706_500]), "goals fall 3:11, 45:06 after the kick-off\n");
        assert!(line(&written, 1_005_000, 0.0, Duration::ZERO).starts_with("match clock -0:05 of 99 min"));
    }
}
