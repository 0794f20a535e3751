//! Where simulated records go: files, as fast as they are made, or a sink at the pace of the match.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Profile, START_DEFAULT, SimRecord, Simulation, SimulationSettings, TOPICS, Truth, roster};
use crate::clock::Micros;
use crate::error::{Error, Result};

/// `touchline simulate`.
#[derive(Debug, Clone, clap::Args)]
pub struct SimulateArgs {
    /// How much of everything
    #[arg(long, value_enum, default_value = "smoke")]
    pub profile: Profile,
    /// The same seed gives the same bytes
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Matches at the same time, 1 to 50
    #[arg(long, default_value_t = 1)]
    pub matches: usize,
    /// Viewers of all matches together [default: 1000 for smoke, else 100000]
    #[arg(long)]
    pub viewers: Option<usize>,
    /// The first kick-off, RFC 3339 [default: 2026-01-10T15:00:00Z]
    #[arg(long)]
    pub start: Option<String>,
    /// Folder to write to: a file a topic, truth.json, and the lookup tables teams.csv and players.csv
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}

/// What `touchline simulate` has written.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    /// Records by topic.
    pub records: BTreeMap<&'static str, u64>,
    pub truth: Truth,
}

impl SimulateArgs {
    fn settings(&self) -> Result<SimulationSettings> {
        let defaults = SimulationSettings::new(self.profile, self.seed);
        let start = match &self.start {
            None => START_DEFAULT,
            Some(text) => chrono::DateTime::parse_from_rfc3339(text)
                .map_err(|error| {
                    Error::invalid(format!("\"{text}\" is not a time"))
                        .detail(error.to_string())
                        .hint("write --start 2026-01-10T15:00:00Z")
                })?
                .timestamp_micros(),
        };
        let viewers = self.viewers.unwrap_or(defaults.viewers);
        Ok(SimulationSettings { matches: self.matches, viewers, start, ..defaults })
    }
}

/// Writes `<topic>.ndjson` for every topic in the order of arrival, `truth.json`, `teams.csv` and `players.csv`.
///
/// Files of these names are replaced. A spoilt record can itself hold no line break, so a line is a record.
///
/// # Errors
/// `Invalid` for settings out of range, `Unavailable` where the folder cannot be written.
pub fn run(args: &SimulateArgs) -> Result<RunSummary> {
    let mut simulation = Simulation::new(&args.settings()?)?;
    let unwritable = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| Error::unavailable(format!("cannot write {path}")).caused_by(error)
    };
    fs::create_dir_all(&args.to).map_err(unwritable(&args.to))?;
    let mut files = BTreeMap::new();
    for topic in TOPICS {
        let path = args.to.join(format!("{topic}.ndjson"));
        files.insert(topic, BufWriter::with_capacity(1 << 20, File::create(&path).map_err(unwritable(&path))?));
    }
    let mut records = BTreeMap::new();
    for record in &mut simulation {
        let file = files.get_mut(record.topic).expect("every topic has a file");
        file.write_all(&record.value).and_then(|()| file.write_all(b"\n")).map_err(unwritable(&args.to))?;
        *records.entry(record.topic).or_default() += 1;
    }
    for (_, mut file) in files {
        file.flush().map_err(unwritable(&args.to))?;
    }
    let truth = serde_json::to_string_pretty(simulation.truth())
        .map_err(|error| Error::bug("the truth cannot be written as JSON").caused_by(error))?;
    for (name, text) in
        [("truth.json", truth + "\n"), ("teams.csv", roster::teams_csv()), ("players.csv", roster::players_csv())]
    {
        let path = args.to.join(name);
        fs::write(&path, text).map_err(unwritable(&path))?;
    }
    Ok(RunSummary { records, truth: simulation.truth().clone() })
}

/// So many records are handed on at once at most.
const PUMP_RECORDS_MAX: usize = 1_000;
/// How long one wait may be, so that an end is noticed.
const PUMP_WAIT_MAX: Duration = Duration::from_millis(200);

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
    sink: &mut dyn FnMut(&[SimRecord]) -> Result<()>,
) -> Result<Option<Micros>> {
    let (began, start_ms) = (now(), simulation.start_ms());
    let due = |record: &SimRecord| {
        let fast = began.saturating_add(((record.send_time_ms - start_ms) as f64 * 1000.0 / speed) as Micros);
        if speed > 0.0 { fast.max(record.send_time_ms * 1000) } else { Micros::MIN }
    };
    let mut latest: Option<Micros> = None;
    let mut next = simulation.next();
    let mut slice = Vec::with_capacity(PUMP_RECORDS_MAX);
    while let Some(first) = &next {
        let at = now();
        let early = due(first).saturating_sub(at);
        let pause =
            if early > 0 { Duration::from_micros(early.unsigned_abs()).min(PUMP_WAIT_MAX) } else { Duration::ZERO };
        if wait(pause).is_break() {
            break;
        }
        if early > 0 {
            continue;
        }
        while let Some(record) = next.take_if(|record| due(record) <= at && slice.len() < PUMP_RECORDS_MAX) {
            latest = latest.max(Some(record.event_time_ms * 1000));
            slice.push(record);
            next = simulation.next();
        }
        sink(&slice)?;
        slice.clear();
    }
    Ok(latest)
}
