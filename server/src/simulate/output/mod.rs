//! Where simulated records go: files, Kafka or the embedded log, as fast as they are made or at the pace of the match.

mod embedded;
mod files;
mod kafka;
mod pump;
mod seal;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

pub use self::embedded::EmbeddedTarget;
use self::files::FilesTarget;
use self::kafka::KafkaTarget;
pub use self::pump::pump;
use super::{Batch, Class, SimRecord, Simulation, SimulationSettings, Topic, roster};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::source::kafka::KafkaSettings;
pub(crate) use crate::source::partition_of;

/// Where to write, see [`run`].
#[derive(Debug, Clone)]
pub enum Destination {
    /// A folder: NDJSON files by topic and partition, and the lookup tables.
    Folder(PathBuf),
    /// `settings.brokers` and the prefix of the topics' names.
    Kafka { settings: KafkaSettings, prefix: String },
    /// The log that servers with this data directory read. None of them may run.
    Embedded(PathBuf),
}

/// How to write, see [`run`].
#[derive(Debug, Clone)]
pub struct Writing {
    /// Of topics that do not exist yet; files a topic.
    pub partitions: u32,
    /// Match seconds a second; 0 is as fast as possible.
    pub speed: f64,
    /// What to write; all else is left out.
    pub classes: Vec<Class>,
    /// Whether each partition ends with a record an hour after the last event, so that all windows close.
    pub seal: bool,
    /// Folder for the truth files.
    pub truth: Option<PathBuf>,
}

pub const PARTITIONS_MAX: u32 = 64;

/// What has been written so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Records by topic, in the order of [`Topic::ALL`].
    pub records: [u64; Topic::ALL.len()],
    /// The second that is being simulated, and the last one, milliseconds since the Unix epoch.
    pub at_ms: i64,
    pub end_ms: i64,
}

impl Written {
    pub fn all(&self) -> u64 {
        self.records.iter().sum()
    }
}

/// One record on its way out.
#[derive(Debug, Clone, Copy)]
struct Outgoing<'a> {
    event_ms: i64,
    key: &'a [u8],
    value: &'a [u8],
}

/// A log of topics and partitions, seen by one who writes.
trait Target {
    /// Of each topic.
    fn partitions(&self, topic: Topic) -> u32;

    /// Adds a record; it may wait in a buffer of limited size.
    fn append(&mut self, topic: Topic, partition: u32, record: Outgoing<'_>) -> Result<()>;

    /// Sends what waits in buffers on its way; `finally`: and returns when it is there to stay.
    fn flush(&mut self, finally: bool) -> Result<()>;
}

/// Simulates to the end.
///
/// `progress` is told of each slice of records; its end ends the simulation early, without truth files.
///
/// # Errors
/// `Invalid` for settings out of range, `Unavailable` where the destination cannot be written or does not answer.
pub fn run(
    settings: &SimulationSettings,
    to: &Destination,
    writing: &Writing,
    clock: &Clock,
    progress: &mut dyn FnMut(&Written) -> ControlFlow<()>,
) -> Result<Written> {
    if !(1..=PARTITIONS_MAX).contains(&writing.partitions) {
        return Err(Error::invalid(format!("{} partitions are not possible", writing.partitions))
            .hint(format!("ask for 1 to {PARTITIONS_MAX}")));
    }
    let truth = match to {
        Destination::Folder(folder) => Some(writing.truth.clone().unwrap_or_else(|| folder.join("truth"))),
        Destination::Kafka { .. } | Destination::Embedded(_) => writing.truth.clone(),
    };
    let settings = &SimulationSettings { answers: truth.is_some(), ..settings.clone() };
    let mut simulation = Simulation::new(settings)?;
    let mut target: Box<dyn Target> = match to {
        Destination::Folder(folder) => Box::new(FilesTarget::create(folder, writing.partitions)?),
        Destination::Kafka { settings, prefix } => {
            Box::new(KafkaTarget::connect(settings, prefix, writing.partitions)?)
        }
        Destination::Embedded(data_dir) => Box::new(EmbeddedTarget::open(data_dir, writing.partitions, clock)?),
    };
    let mut written = Written { at_ms: simulation.start_ms(), end_ms: simulation.end_ms(), ..Written::default() };
    let mut latest = i64::MIN;
    let mut ended = false;
    let paced = writing.speed > 0.0;
    let told = std::cell::Cell::new(written);
    let mut wait = |pause: Duration| {
        // To sleep for no time at all would still give the processor away.
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        let go_on = progress(&told.get());
        ended |= go_on.is_break();
        go_on
    };
    pump(&mut simulation, writing.speed, &|| clock.now(), &mut wait, &mut |batch, records| {
        for record in records.iter().filter(|record| writing.classes.contains(&record.class)) {
            put(target.as_mut(), batch, record)?;
            written.records[record.topic as usize] += 1;
        }
        for record in records {
            written.at_ms = record.send_time_ms;
            if record.class != Class::Ahead {
                latest = latest.max(record.event_time_ms);
            }
        }
        told.set(written);
        if paced { target.flush(false) } else { Ok(()) }
    })?;
    if writing.seal && !ended {
        for topic in Topic::ALL {
            for partition in 0..target.partitions(topic) {
                let (event_ms, key, value) = seal::record(topic, latest);
                target.append(topic, partition, Outgoing { event_ms, key, value: &value })?;
                written.records[topic as usize] += 1;
            }
        }
    }
    target.flush(true)?;
    if let Destination::Folder(folder) = to {
        for (name, text) in [("teams.csv", roster::teams_csv()), ("players.csv", roster::players_csv())] {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(|error| files::unwritable(&path, error))?;
        }
    }
    if let Some(folder) = truth.filter(|_| !ended) {
        simulation.write_truth(&folder)?;
    }
    Ok(written)
}

fn put(target: &mut dyn Target, batch: &Batch, record: &SimRecord) -> Result<()> {
    let key = batch.key(record);
    let outgoing = Outgoing { event_ms: record.event_time_ms, key: key.as_ref(), value: batch.value(record) };
    target.append(record.topic, partition_of(key.as_ref(), target.partitions(record.topic)), outgoing)
}
