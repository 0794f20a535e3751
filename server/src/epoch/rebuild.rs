//! A hot table made anew from all that its view holds: the sealed files, then the tail, then what may change again, at one checkpoint.
//!
//! The rows come in the order of their checkpoints, so of several rows with one key the last wins, as it did when they first came. The old
//! table is read until the new one takes its place.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::DateTime;
use tracing::warn;

use crate::changelog::Changes;
use crate::changelog::early::EarlyForm;
use crate::checkpoint::FUTURE_DAYS_MAX;
use crate::clock::{DAY_MICROS, Micros};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::postgres::{Claim, HotTable, PostgresSink, Rebuild, retry_delay};
use crate::source::reader::ViewDeps;
use crate::source::view::History;
use crate::state::{Rows, bytes_of};
use crate::tables::view::conform;
use crate::tables::{SealedFile, ViewSnapshot};

/// Rows and bytes of one transaction into a table that nobody reads yet.
const BATCH_ROWS_MAX: usize = 1 << 16;
const BATCH_BYTES_MAX: usize = 16 << 20;

/// How often a transaction into the new table is tried: a moment without Postgres is no reason to begin hours of work again. Some 12 s.
const ADD_ATTEMPTS: u32 = 8;

/// How often it is tried to put the new table in the place of the old one, which somebody may be reading. Some five minutes.
const SWAP_ATTEMPTS: u32 = 16;

/// What a table is made of.
pub(super) struct Job {
    pub(super) sink: Arc<PostgresSink>,
    pub(super) table: HotTable,
    pub(super) claim: Claim,
    pub(super) views: ViewDeps,
    pub(super) snapshot: Arc<ViewSnapshot>,
    /// The column whose days the public files are filed under.
    pub(super) dated_by: Option<String>,
    /// What retention counts back from; `None` before there is a time.
    pub(super) now: Option<Micros>,
}

impl Job {
    /// Returns the checkpoint that the table is at.
    ///
    /// # Errors
    /// Those of the sink and of reading the view; the old table is then as it was, and the whole may be repeated.
    pub(super) async fn run(self) -> Result<u64> {
        let at = self.snapshot.checkpoint;
        let mut rebuild = self.sink.begin_rebuild(&self.table, &self.claim, self.now).await?;
        let mut rows =
            Gathering { schema: Arc::clone(&self.table.schema), form: None, batches: vec![], rows: 0, bytes: 0 };
        if let Changes::Upsert(key) = &self.table.changes {
            rows.form = Some(EarlyForm::new(&self.table.schema, key.clone()));
        }
        self.sealed(&mut rows, &mut rebuild).await?;
        for part in self.snapshot.tail.iter() {
            rows.add_all(&part.rows, &mut rebuild).await?;
        }
        if let (Some(early), Some(form)) = (&self.snapshot.early, rows.form.clone()) {
            let batches = early.rows.iter().flat_map(Rows::batches).collect::<Result<Vec<_>>>()?;
            for batch in form.newest(&batches, |row| !row.gone && row.is_open(early.final_through))? {
                rows.push(batch, &mut rebuild).await?;
            }
        }
        rows.flush(&mut rebuild).await?;
        let mut attempt = 0;
        loop {
            match rebuild.finish(at).await {
                Err(error) if error.kind() == ErrorKind::Unavailable && attempt + 1 < SWAP_ATTEMPTS => {
                    warn!(
                        table = self.table.table,
                        error = error.report(),
                        "rebuilt hot table is not in its place yet"
                    );
                    tokio::time::sleep(retry_delay(attempt, 1.0)).await;
                    attempt += 1;
                }
                finished => return finished.map(|()| at),
            }
        }
    }

    async fn sealed(&self, rows: &mut Gathering, rebuild: &mut Rebuild) -> Result<()> {
        let files = self.files();
        let mut history = History::new(self.views.clone(), Arc::clone(&self.table.schema));
        let mut next = 1;
        while let Some(seal) = history.next_seal(&files, next).await? {
            let mut reading = history.open(&seal, next).await?;
            while let Some((_, batch)) = reading.next().await? {
                rows.add(&batch, rebuild).await?;
            }
            next = seal.range.to + 1;
        }
        Ok(())
    }

    /// The public files that can hold rows which the table keeps.
    fn files(&self) -> Vec<Arc<SealedFile>> {
        let column = self.table.time_column.as_ref().filter(|column| Some(*column) == self.dated_by.as_ref());
        // A row without a time is filed under the day on which it came.
        let never_null = |column: &&String| {
            let field = self.table.schema.field_with_name(column);
            self.table.primary_key.contains(column) || field.is_ok_and(|field| !field.is_nullable())
        };
        let first = match (column.filter(never_null), self.now) {
            (Some(_), Some(now)) => first_day(now, self.sink.settings().retention_days),
            _ => None,
        };
        match first {
            Some(first) => from_day(&self.snapshot.sealed, &first),
            None => self.snapshot.sealed.to_vec(),
        }
    }
}

/// The files that can hold rows of this day and later ones. One of a seal of many days can, whatever its own day is: rows of the smallest
/// are filed under the day on which they came, and that may be long before theirs.
fn from_day(sealed: &[Arc<SealedFile>], first: &str) -> Vec<Arc<SealedFile>> {
    let mut days: HashMap<&str, usize> = HashMap::new();
    for file in sealed {
        *days.entry(seal_of(&file.path)).or_default() += 1;
    }
    let is_full = |path: &str| days.get(seal_of(path)).is_some_and(|days| *days >= FUTURE_DAYS_MAX);
    let kept = |file: &&Arc<SealedFile>| match date_of(&file.path) {
        Some(date) => date >= first || is_full(&file.path),
        None => true,
    };
    sealed.iter().filter(kept).cloned().collect()
}

/// What the names of all files of a seal begin with.
fn seal_of(path: &str) -> &str {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.rsplit_once('-').map_or(name, |(seal, _)| seal)
}

/// The first day that is kept, as folders name it. `None` where it has no such name.
fn first_day(now: Micros, retention_days: u32) -> Option<String> {
    let day = now.div_euclid(DAY_MICROS) - i64::from(retention_days);
    let text = DateTime::from_timestamp_micros(day.checked_mul(DAY_MICROS)?)?.format("%Y-%m-%d").to_string();
    // Others do not compare as texts.
    (text.len() == 10).then_some(text)
}

/// The day in a public file's folder.
fn date_of(path: &str) -> Option<&str> {
    let (folder, _) = path.rsplit_once('/')?;
    let (_, date) = folder.rsplit_once('=')?;
    (date.len() == 10).then_some(date)
}

/// Rows on their way, in the form in which the sink takes them.
struct Gathering {
    schema: SchemaRef,
    /// Where rows replace one another.
    form: Option<EarlyForm>,
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl Gathering {
    /// Final rows, in the types of their file or of today.
    async fn add(&mut self, batch: &RecordBatch, rebuild: &mut Rebuild) -> Result<()> {
        let batch = conform(batch, &self.schema).map_err(|error| {
            Error::corrupt("rows of a view are not those that it has").detail(Error::from(error).primary().to_owned())
        })?;
        let batch = match &self.form {
            Some(form) => form.settled(&batch)?,
            None => batch,
        };
        self.push(batch, rebuild).await
    }

    async fn add_all(&mut self, rows: &Rows, rebuild: &mut Rebuild) -> Result<()> {
        for batch in rows.batches() {
            self.add(&batch?, rebuild).await?;
        }
        Ok(())
    }

    async fn push(&mut self, batch: RecordBatch, rebuild: &mut Rebuild) -> Result<()> {
        self.rows += batch.num_rows();
        self.bytes += bytes_of(&batch);
        self.batches.push(batch);
        match self.rows >= BATCH_ROWS_MAX || self.bytes >= BATCH_BYTES_MAX {
            true => self.flush(rebuild).await,
            false => Ok(()),
        }
    }

    async fn flush(&mut self, rebuild: &mut Rebuild) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut attempt = 0;
        loop {
            match rebuild.add(&self.batches).await {
                Err(error) if error.kind() == ErrorKind::Unavailable && attempt + 1 < ADD_ATTEMPTS => {
                    tokio::time::sleep(retry_delay(attempt, 1.0)).await;
                    attempt += 1;
                }
                added => {
                    added?;
                    break;
                }
            }
        }
        self.batches.clear();
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_days_that_are_kept_are_read() {
        let now = 20_454 * DAY_MICROS + 5;
        assert_eq!(first_day(now, 7).as_deref(), Some("2025-12-25"));
        assert_eq!(first_day(-800_000 * DAY_MICROS, 7), None, "before the year 0 days do not compare as texts");
        assert_eq!(date_of("v/event_date=2026-01-01/v-1.parquet"), Some("2026-01-01"));
        assert_eq!(date_of("v/event_date=-2026-01-01/v-1.parquet"), None);
        assert_eq!(date_of("v-1.parquet"), None);
    }

    // As of a view of what will be: the third of them has no file of its own, and comes to be within what is kept.
    #[test]
    fn rows_that_are_filed_under_the_day_on_which_they_came_are_read_as_long_as_they_may_be_kept() {
        let named = |days: &[&str], seal: u64| -> Vec<Arc<SealedFile>> {
            let path = |(part, day): (usize, &&str)| format!("v/event_date={day}/v-1-aa-{seal:020}-{part:04}.parquet");
            let file = |path| {
                Arc::new(SealedFile {
                    path,
                    bytes: 1,
                    rows: 1,
                    checkpoints: None,
                    sha256: None,
                    times: Default::default(),
                })
            };
            days.iter().enumerate().map(path).map(file).collect()
        };
        let ahead: Vec<String> = (10..10 + FUTURE_DAYS_MAX).map(|day| format!("2026-02-{day}")).collect();
        let many: Vec<&str> = std::iter::once("2026-02-01").chain(ahead.iter().map(String::as_str)).collect();
        let (few, many) = (named(&["2026-02-01", "2026-02-08", "2026-02-09"], 1), named(&many, 2));
        let found = from_day(&[few.clone(), many.clone()].concat(), "2026-02-08");
        assert_eq!(found, [&few[1..], &many[..]].concat());
    }
}
