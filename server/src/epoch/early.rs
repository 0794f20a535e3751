//! Early rows of one output, from those of the running checkpoint to what readers and the hot table get.
//!
//! Of each key the newest row counts. The rows of a checkpoint are a section of its bundle, and sections are put together in tiers: each has
//! more than twice the rows of the one behind it, so they are few, and together not much more than what is open. A section goes when all of
//! it is final, and is written anew when most of it is. So a checkpoint costs what it brings, and the logarithm of what there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;

use super::in_slices;
use crate::changelog::early::{EarlyForm, EarlyRow};
use crate::changelog::newest::Newest;
use crate::changelog::published::ChangeForm;
use crate::checkpoint::{BundleBuilder, EarlySection, EarlyState, OutputState, TailEntry, read_section_by_batches};
use crate::clock::Micros;
use crate::error::Result;
use crate::state::{Account, Rows, Spool};
use crate::store::{SpillDirectory, Store};
use crate::tables::EarlySnapshot;
use crate::watermark::NONE;

/// Rows of the running checkpoint that are more than their keys before it is looked which of them count.
const NETTED_FROM: usize = if cfg!(test) { 8 } else { 1 << 16 };

/// Rows of a section that are kept although most of them are final.
const STALE_MIN: usize = if cfg!(test) { 2 } else { 1_024 };

/// Checkpoints whose rows for the hot table are kept in memory, and rows that are not too many for that: it mostly takes them at once.
const HOT_CHECKPOINTS: usize = 4;
const HOT_ROWS: usize = 1 << 16;

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct EarlyOutput {
    form: Arc<EarlyForm>,
    account: Arc<Account>,
    /// Rows that no checkpoint holds yet, from the oldest to the newest, and with how many of them it is time to net.
    fresh: Vec<Rows>,
    net_at: usize,
    /// What the epochs so far have made final.
    through: Micros,
    parts: Vec<Part>,
    staged: Option<Staged>,
    shown: Arc<EarlySnapshot>,
    /// Rows for the hot table that are in memory, by checkpoint.
    hot: BTreeMap<u64, Arc<[Rows]>>,
    /// In which form changes have public files, where they have some.
    published: Option<ChangeForm>,
}

/// A section and its rows.
#[derive(Debug, Clone)]
struct Part {
    section: EarlySection,
    rows: Rows,
    /// How many of them are final when.
    until: Arc<BTreeMap<Micros, usize>>,
}

/// What the checkpoint under way will have.
#[derive(Debug)]
struct Staged {
    checkpoint: u64,
    through: Micros,
    parts: Vec<Part>,
    hot: Option<Arc<[Rows]>>,
}

/// The checkpoint that rows go into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) checkpoint: u64,
    pub(super) created_at: Micros,
    /// Rows of the same checkpoint that are final.
    pub(super) final_rows: &'a [Rows],
    /// There is a hot table.
    pub(super) hot: bool,
}

impl EarlyOutput {
    pub(super) fn new(form: Arc<EarlyForm>, account: Arc<Account>) -> Self {
        let shown = Arc::new(EarlySnapshot { form: Arc::clone(&form), final_through: NONE, rows: Arc::new([]) });
        EarlyOutput {
            form,
            account,
            fresh: Vec::new(),
            net_at: NETTED_FROM,
            through: NONE,
            parts: Vec::new(),
            staged: None,
            shown,
            hot: BTreeMap::new(),
            published: None,
        }
    }

    /// Changes have public files from now on, in this form.
    pub(super) fn publish(&mut self, form: ChangeForm) {
        self.published = Some(form);
    }

    /// Reads back what a checkpoint holds.
    pub(super) async fn restore(
        &mut self,
        private: &Store,
        state: &OutputState,
        disk: Option<&SpillDirectory>,
    ) -> Result<()> {
        let Some(early) = &state.early else { return Ok(()) };
        self.through = early.final_through.unwrap_or(NONE);
        for section in &early.sections {
            let mut rows = Spool::new(&self.account);
            let mut keep = |batch| rows.push(self.form.restored(batch)?);
            read_section_by_batches(private, &section.section, disk, &mut keep).await?;
            self.parts.push(self.part(section.clone(), rows.finish()?)?);
        }
        self.show(self.through);
        Ok(())
    }

    /// Rows of an epoch.
    pub(super) fn add(&mut self, rows: Rows) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.fresh.push(rows);
        if self.fresh_rows() > self.net_at {
            let netted = Rows::of(self.newest(|_| true)?, &self.account)?;
            self.net_at = NETTED_FROM.max(2 * netted.num_rows());
            self.fresh = vec![netted];
        }
        Ok(())
    }

    /// The epochs so far have made final what ends up to here.
    pub(super) fn set_final_through(&mut self, through: Micros) {
        self.through = through;
    }

    /// Puts the rows that have come into a checkpoint, and those of before that go with them.
    pub(super) fn stage(
        &mut self,
        state: &mut OutputState,
        bundle: &mut BundleBuilder,
        into: Target<'_>,
    ) -> Result<()> {
        let through = self.through;
        // What has gone is news to the hot table also where all is final by now.
        let fresh = self.newest(|row| row.gone || row.is_open(through))?;
        let hot = if into.hot { self.stage_hot(state, bundle, &fresh, into)? } else { None };
        let parts = self.with(fresh, bundle)?;
        state.early = Some(EarlyState {
            final_through: Some(through).filter(|at| *at != NONE),
            sections: parts.iter().map(|part| part.section.clone()).collect(),
        });
        self.staged = Some(Staged { checkpoint: into.checkpoint, through, parts, hot });
        Ok(())
    }

    /// What the next checkpoint, which is this one, changes, for public files: of each key the newest row, be it final or not.
    pub(super) fn changes(&self, checkpoint: u64, final_rows: &[Rows]) -> Result<Rows> {
        let Some(published) = &self.published else { return Ok(Rows::default()) };
        let through = self.through;
        let early = self.newest(|row| row.gone || row.is_open(through))?;
        let form = &self.form;
        let settled = || final_rows.iter().flat_map(Rows::batches).map(move |batch| form.settled(&batch?));
        let all = || early.iter().cloned().map(Ok).chain(settled());
        let mut newest = Newest::new(form.schema(), form.key())?;
        for batch in all() {
            newest.add(&batch?)?;
        }
        let mut spool = Spool::new(&self.account);
        for (batch, mask) in all().zip(newest.masks()) {
            spool.push(published.changes(&batch?, &mask, checkpoint)?)?;
        }
        spool.finish()
    }

    /// The checkpoint that [`EarlyOutput::stage`] took part in is durable.
    pub(super) fn committed(&mut self) {
        let Some(Staged { checkpoint, through, parts, hot }) = self.staged.take() else { return };
        self.fresh.clear();
        self.net_at = NETTED_FROM;
        self.parts = parts;
        self.show(through);
        self.hot.extend(hot.map(|rows| (checkpoint, rows)));
        while self.hot.len() > HOT_CHECKPOINTS {
            self.hot.pop_first();
        }
    }

    /// What readers get of the last checkpoint.
    pub(super) fn shown(&self) -> Arc<EarlySnapshot> {
        Arc::clone(&self.shown)
    }

    /// The rows of a checkpoint for the hot table, where they are in memory.
    pub(super) fn hot_rows(&self, checkpoint: u64) -> Option<Arc<[Rows]>> {
        self.hot.get(&checkpoint).cloned()
    }

    fn fresh_rows(&self) -> usize {
        self.fresh.iter().map(Rows::num_rows).sum()
    }

    fn newest(&self, keep: impl Fn(EarlyRow) -> bool) -> Result<Vec<RecordBatch>> {
        let batches = self.fresh.iter().flat_map(Rows::batches).collect::<Result<Vec<_>>>()?;
        self.form.newest(&batches, keep)
    }

    fn show(&mut self, final_through: Micros) {
        let rows = self.parts.iter().map(|part| part.rows.clone()).collect();
        self.shown = Arc::new(EarlySnapshot { form: Arc::clone(&self.form), final_through, rows });
    }

    fn part(&self, section: EarlySection, rows: Rows) -> Result<Part> {
        let mut until = BTreeMap::new();
        for batch in rows.batches() {
            for at in self.form.rows(&batch?)?.into_iter().filter_map(|row| row.until) {
                *until.entry(at).or_default() += 1;
            }
        }
        Ok(Part { section, rows, until: Arc::new(until) })
    }

    /// The sections with the rows that have come.
    fn with(&self, fresh: Vec<RecordBatch>, bundle: &mut BundleBuilder) -> Result<Vec<Part>> {
        let through = self.through;
        let mut parts: Vec<Part> = self.parts.iter().filter(|part| part.section.until > through).cloned().collect();
        let rows = |parts: &[Part]| parts.iter().map(|part| part.rows.num_rows()).sum::<usize>();
        let mut first = parts.iter().position(|part| part.is_stale(through)).unwrap_or(parts.len());
        let mut together = fresh.iter().map(RecordBatch::num_rows).sum::<usize>() + rows(&parts[first..]);
        while first > 0 && parts[first - 1].rows.num_rows() <= 2 * together {
            first -= 1;
            together += parts[first].rows.num_rows();
        }
        if together == 0 {
            return Ok(parts);
        }
        let old = parts.split_off(first);
        let mut batches = old.iter().flat_map(|part| part.rows.batches()).collect::<Result<Vec<_>>>()?;
        batches.extend(fresh);
        // In the oldest section nothing is left that would have to be hidden.
        let hides = !parts.is_empty();
        let batches = self.form.newest(&batches, |row| row.is_open(through) && (hides || !row.gone))?;
        if batches.is_empty() {
            return Ok(parts);
        }
        let batch = concat_batches(self.form.schema(), &batches)?;
        let section = bundle.add_each(in_slices(Ok(batch.clone())).into_iter())?;
        let rows = Rows::of(vec![batch], &self.account)?;
        let mut part = self.part(EarlySection { until: NONE, section }, rows)?;
        part.section.until = part.until.last_key_value().map_or(NONE, |(at, _)| *at);
        parts.push(part);
        Ok(parts)
    }

    /// Adds what has changed to the rows that wait for the hot table: early rows, then the final ones, which may replace them.
    fn stage_hot(
        &self,
        state: &mut OutputState,
        bundle: &mut BundleBuilder,
        fresh: &[RecordBatch],
        into: Target<'_>,
    ) -> Result<Option<Arc<[Rows]>>> {
        let form = &self.form;
        let settled = || into.final_rows.iter().flat_map(Rows::batches).map(move |batch| form.settled(&batch?));
        let changes = || fresh.iter().cloned().map(Ok).chain(settled());
        let section = bundle.add_each(changes().flat_map(in_slices))?;
        if section.rows == 0 {
            return Ok(None);
        }
        let kept = match section.rows as usize <= HOT_ROWS {
            true => Some(Rows::of(changes().collect::<Result<_>>()?, &self.account)?),
            false => None,
        };
        let Target { checkpoint, created_at, .. } = into;
        state.hot.push(TailEntry { checkpoint, created_at, section, dates: BTreeMap::new() });
        Ok(kept.map(|rows| Arc::new([rows]) as Arc<[Rows]>))
    }
}

impl Part {
    /// Most of it is final.
    fn is_stale(&self, through: Micros) -> bool {
        let rows = self.rows.num_rows();
        let is_open = |at: &Micros| *at > through;
        let open: usize = self.until.iter().rev().take_while(|(at, _)| is_open(at)).map(|(_, rows)| rows).sum();
        rows > STALE_MIN && 2 * open < rows
    }
}

#[cfg(test)]
mod tests;
