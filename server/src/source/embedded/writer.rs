//! Group commit: everything that waits becomes durable with one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use redb::{Durability, ReadableTable, Table, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::chunk::{self, Chunk};
use super::{Append, CHUNKS, EXTENTS, EmbeddedSettings, Extent, Shared, store_error};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::source::Offset;

/// Bytes per transaction: large enough to fill the disk, small enough that the first of them does not wait long.
const COMMIT_BYTES: usize = 8 << 20;

/// Where appends of one group go, in order of arrival.
type Groups = BTreeMap<(u32, u32), Vec<Append>>;

/// The thread ends when the channel is closed and empty.
pub(super) fn spawn(
    shared: Arc<Shared>,
    mut appends: mpsc::Receiver<Append>,
    settings: EmbeddedSettings,
    clock: Clock,
) -> Result<JoinHandle<()>> {
    let run = move || {
        // Why it fails, as last said.
        let mut said = None;
        while let Some(first) = appends.blocking_recv() {
            let mut bytes = first.body.len();
            let mut groups = Groups::new();
            groups.entry((first.topic, first.partition)).or_default().push(first);
            while bytes < COMMIT_BYTES
                && let Ok(next) = appends.try_recv()
            {
                bytes += next.body.len();
                groups.entry((next.topic, next.partition)).or_default().push(next);
            }
            // Somebody who sets the wall clock ahead must not have all dropped that nobody has read.
            commit(&shared, groups, &settings, clock.steady() / 1000, &mut said);
        }
    };
    thread::Builder::new()
        .name("embedded-log".to_owned())
        .spawn(run)
        .map_err(|error| Error::unavailable("cannot start the embedded log's thread").caused_by(error))
}

/// Stores and answers one group. Readers see it, and appenders are told, only after it is durable.
fn commit(shared: &Shared, groups: Groups, settings: &EmbeddedSettings, now_ms: i64, said: &mut Option<String>) {
    let mut answers: Vec<(oneshot::Sender<Result<Offset>>, Offset)> = Vec::new();
    match store(shared, groups, settings, now_ms, &mut answers) {
        Ok(extents) => {
            shared.file.is_well();
            *said = None;
            {
                let mut state = shared.state.lock();
                for topic in state.topics.values_mut() {
                    for (partition, extent) in topic.partitions.iter_mut().enumerate() {
                        if let Some(new) = extents.get(&(topic.id, partition as u32)) {
                            *extent = *new;
                        }
                    }
                }
            }
            shared.grown.notify_all();
            for (done, base) in answers {
                // Whoever gave up waiting does not want the answer.
                let _ = done.send(Ok(base));
            }
        }
        Err(error) => {
            // Not for each group of a producer that tries again at once.
            if said.as_deref() != Some(error.primary()) {
                *said = Some(error.primary().to_owned());
                tracing::error!(path = %shared.file.path().display(), error = error.report(), "cannot write the embedded log");
            }
            for (done, _) in answers {
                let _ = done.send(Err(error.duplicate()));
            }
        }
    }
}

fn store(
    shared: &Shared,
    groups: Groups,
    settings: &EmbeddedSettings,
    now_ms: i64,
    answers: &mut Vec<(oneshot::Sender<Result<Offset>>, Offset)>,
) -> Result<BTreeMap<(u32, u32), Extent>> {
    // Taken apart first: whoever waits gets an answer, whatever fails below.
    let mut bodies = Vec::new();
    for (place, appends) in groups {
        let mut count = 0;
        let mut body =
            Vec::with_capacity(chunk::HEADER_BYTES + appends.iter().map(|append| append.body.len()).sum::<usize>());
        body.extend_from_slice(&[0; chunk::HEADER_BYTES]);
        let first_answer = answers.len();
        for append in appends {
            answers.push((append.done, Offset::from(count)));
            count += append.count;
            body.extend_from_slice(&append.body);
        }
        bodies.push((place, count, body, first_answer..answers.len()));
    }

    shared.with_store(|database| {
        let mut write = database.begin_write().map_err(not_written)?;
        write.set_durability(Durability::Immediate).map_err(not_written)?;
        let mut changed = BTreeMap::new();
        for ((topic, partition), count, mut body, answered) in bodies {
            let extent = append_chunk(&write, (topic, partition), count, now_ms, &mut body)?;
            for (_, base) in &mut answers[answered] {
                *base += (extent.end - u64::from(count)) as Offset;
            }
            let extent = retain(&write, (topic, partition), extent, settings, now_ms)?;
            let mut extents = write.open_table(EXTENTS).map_err(not_written)?;
            extents.insert((topic, partition), (extent.begin, extent.end, extent.bytes)).map_err(not_written)?;
            changed.insert((topic, partition), extent);
        }
        write.commit().map_err(in_doubt)?;
        Ok(changed)
    })
}

/// Before the commit: the transaction is gone, and its records with it.
fn not_written(error: impl Into<redb::Error>) -> Error {
    let hint = "look after the disk that holds the data directory, then append them again";
    told("the records were not written to the embedded log", hint, &store_error(error))
}

/// The commit has failed somewhere: what it wrote may have reached the disk.
fn in_doubt(error: impl Into<redb::Error>) -> Error {
    let hint =
        "look for them in the topic before they are appended again, or append them again where duplicates do no harm";
    let failed = store_error(error);
    // Not what to do about the disk: the log says that, and who has appended has another question.
    told("it is not known whether the records are in the embedded log", hint, &failed).hint(hint)
}

/// `hint`: where the failure has none of its own.
fn told(primary: &str, hint: &str, error: &Error) -> Error {
    let why = error.detail_text().unwrap_or(error.primary()).to_owned();
    Error::new(error.kind(), primary).detail(why).hint(error.hint_text().unwrap_or(hint).to_owned())
}

/// `body`: the records, behind room for the header, which needs to know their offset.
fn append_chunk(
    write: &WriteTransaction,
    place: (u32, u32),
    count: u32,
    now_ms: i64,
    body: &mut [u8],
) -> Result<Extent> {
    let extents = write.open_table(EXTENTS).map_err(not_written)?;
    let (begin, end, bytes) = extents.get(place).map_err(not_written)?.map_or((0, 0, 0), |extent| extent.value());
    let (header, records) = body.split_at_mut(chunk::HEADER_BYTES);
    header.copy_from_slice(&chunk::header(end, count, now_ms, records));
    let mut chunks = write.open_table(CHUNKS).map_err(not_written)?;
    chunks.insert((place.0, place.1, end), &*body).map_err(not_written)?;
    Ok(Extent { begin, end: end + u64::from(count), bytes: bytes + body.len() as u64 })
}

/// Drops the oldest chunks of a partition that holds too much or for too long. The newest one always stays: it carries
/// the next offset's meaning for readers that are at the end.
fn retain(
    write: &WriteTransaction,
    place: (u32, u32),
    mut extent: Extent,
    settings: &EmbeddedSettings,
    now_ms: i64,
) -> Result<Extent> {
    let bytes_max = settings.retention_mbytes.saturating_mul(1 << 20);
    let hours = i64::try_from(settings.retention_hours).unwrap_or(i64::MAX);
    let oldest_ms = now_ms.saturating_sub(hours.saturating_mul(3_600_000));
    let mut chunks = write.open_table(CHUNKS).map_err(not_written)?;
    while let Some(oldest) = oldest(&chunks, place, extent)? {
        let last = oldest.end == extent.end;
        if last || (extent.bytes <= bytes_max && oldest.appended_at_ms >= oldest_ms) {
            break;
        }
        chunks.remove((place.0, place.1, extent.begin)).map_err(not_written)?;
        extent.begin = oldest.end;
        extent.bytes = extent.bytes.saturating_sub(oldest.bytes);
    }
    Ok(extent)
}

struct Oldest {
    end: u64,
    bytes: u64,
    appended_at_ms: i64,
}

fn oldest(
    chunks: &Table<'_, (u32, u32, u64), &'static [u8]>,
    place: (u32, u32),
    extent: Extent,
) -> Result<Option<Oldest>> {
    let Some(stored) = chunks.get((place.0, place.1, extent.begin)).map_err(not_written)? else { return Ok(None) };
    let chunk = Chunk::parse(stored.value(), extent.begin as Offset)?;
    Ok(Some(Oldest {
        end: chunk.end() as u64,
        bytes: stored.value().len() as u64,
        appended_at_ms: chunk.appended_at_ms,
    }))
}
