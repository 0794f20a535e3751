//! One output of a query, from the rows of the running checkpoint to public files: the view itself, or one of its ledgers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::warn;

use super::backlog::{self, Backlog, Waiting};
use super::early::{EarlyOutput, Target};
use super::ledger;
use super::replay::{self, Needs};
use super::sealing::SealJob;
use super::tail_ages::TailAges;
use crate::changelog::Changes;
use crate::changelog::early::EarlyForm;
use crate::changelog::published::ChangeForm;
use crate::checkpoint::{
    BundleBuilder, CHANGES, DEAD_LETTER_LEDGER, Generation, HotListRef, HotRun, LATE_LEDGER, Manifest, OutputChanges,
    OutputMark, OutputState, QueryPaths, SealIntent, TailEntry, read_section_by_batches,
};
use crate::clock::{Clock, Micros};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::parquet::{SealLimits, SealNames, plan_seal, tail_entry};
use crate::state::{Account, Rows, Spool};
use crate::store::{SpillDirectory, Store};
use crate::tables::{PublishedView, SealedFile, TailRows, ViewSnapshot};
use crate::watermark::Mark;

/// See the module's first line.
#[derive(Debug)]
pub(super) struct Output {
    /// Its name in manifests and in the public folder.
    name: String,
    /// The column that dates its rows.
    date_column: Option<String>,
    /// How its rows relate to those before them.
    changes: OutputChanges,
    view: Arc<PublishedView>,
    /// Rows that no checkpoint holds yet.
    fresh: Vec<Rows>,
    /// Rows of the tail, by checkpoint; shared with the snapshots that readers have pinned.
    rows: BTreeMap<u64, Arc<[Rows]>>,
    /// Rows staged for the checkpoint under way.
    staged: Option<(u64, Arc<[Rows]>)>,
    /// All sealed files that the head lists; shared, since they grow in number for ever.
    sealed: Arc<[Arc<SealedFile>]>,
    /// By checkpoint of the tail: how far the rows up to it have got, as far as this process knows.
    reached: BTreeMap<u64, BTreeMap<String, OutputMark>>,
    /// The head is a checkpoint of this process, and not one that it has taken up.
    own_head: bool,
    /// All input has ended.
    finished: bool,
    /// Files that are written and that the next checkpoint will list.
    done: Vec<(u64, Vec<SealedFile>)>,
    /// Seals that the next checkpoint will intend.
    planned: Option<SealIntent>,
    /// Rows up to this checkpoint are in the hot table. After the table was set back that is less than what it has had before.
    applied: u64,
    had: u64,
    /// Of the checkpoints after this one all rows are there for the hot table; `None` where that is not known.
    floor: Option<u64>,
    tail: Vec<TailEntry>,
    ages: TailAges,
    /// What the head names for the hot table, oldest first.
    kept: Vec<Waiting>,
    /// Older runs that a table lacks which was set back that far.
    older: Vec<Waiting>,
    /// What the hot table lacks, oldest first, and how much that is.
    waiting: Vec<Waiting>,
    backlog: Backlog,
    /// Rows that may change again, where there are such.
    early: Option<EarlyOutput>,
    /// Rows of earlier checkpoints that have been computed again, because their place is damaged: the next checkpoint gives them another.
    again: BTreeMap<u64, Arc<[Rows]>>,
    /// Rows up to this checkpoint are not named for the hot table any more, because some of them cannot be read.
    hot_from: u64,
}

impl Output {
    pub(super) fn new(name: String, date_column: Option<String>, changes: &Changes, view: Arc<PublishedView>) -> Self {
        Output {
            name,
            date_column,
            changes: OutputChanges::of(changes, &view.schema),
            view,
            fresh: Vec::new(),
            rows: BTreeMap::new(),
            staged: None,
            sealed: Arc::default(),
            reached: BTreeMap::new(),
            own_head: false,
            finished: false,
            done: Vec::new(),
            planned: None,
            applied: 0,
            had: 0,
            floor: Some(0),
            tail: Vec::new(),
            ages: TailAges::default(),
            kept: Vec::new(),
            older: Vec::new(),
            waiting: Vec::new(),
            backlog: Backlog::default(),
            early: None,
            again: BTreeMap::new(),
            hot_from: 0,
        }
    }

    /// The same with rows that may change again.
    pub(super) fn with_early(self, form: &Arc<EarlyForm>, account: &Arc<Account>) -> Self {
        Output { early: Some(EarlyOutput::new(Arc::clone(form), Arc::clone(account))), ..self }
    }

    /// The same with public files of what changes.
    pub(super) fn with_changes(mut self, form: ChangeForm) -> Self {
        if let Some(early) = &mut self.early {
            early.publish(form);
        }
        self
    }

    /// What it is called in manifests.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes rows of earlier checkpoints in place of those that the head cannot give. Before [`Output::restore`].
    pub(super) fn put_in_place(&mut self, again: BTreeMap<u64, Arc<[Rows]>>) {
        self.rows.extend(again.iter().map(|(checkpoint, rows)| (*checkpoint, Arc::clone(rows))));
        self.again = again;
    }

    /// Names the rows up to this checkpoint no longer for the hot table, since some of them cannot be read: a table that lacks one of them is
    /// made anew. Before [`Output::restore`].
    pub(super) fn give_up_hot(&mut self, to: u64) {
        self.hot_from = to;
    }

    /// Reads back what the head holds: its sealed files' names and the rows of its tail.
    ///
    /// # Errors
    /// `Invalid` where its rows relate to one another in another way than those to come; `Corrupt`, `Unavailable`.
    pub(super) async fn restore(
        &mut self,
        private: &Store,
        head: &Manifest,
        account: &Arc<Account>,
        disk: Option<&SpillDirectory>,
    ) -> Result<()> {
        let Some(state) = super::output_state(head, &self.name) else { return Ok(()) };
        if state.changes != self.changes {
            return Err(Error::invalid(format!("the rows of query {:?} were written in another form", head.query))
                .detail(format!(
                    "output {:?} of checkpoint {} is {:?}, the query needs {:?}",
                    self.name, head.id, state.changes, self.changes
                ))
                .hint("rename the view, so that it starts anew beside the old one"));
        }
        let sealed = crate::checkpoint::read_sealed_files(private, &state.sealed).await?;
        self.sealed = sealed.into_iter().map(Arc::new).collect();
        for entry in &state.tail {
            if self.again.contains_key(&entry.checkpoint) {
                continue;
            }
            let mut rows = Spool::new(account);
            let mut keep = |batch| {
                rows.push(match self.name.as_str() {
                    LATE_LEDGER => ledger::late_as_of_today(batch)?,
                    DEAD_LETTER_LEDGER => ledger::dead_letters_as_of_today(batch)?,
                    _ => batch,
                })
            };
            read_section_by_batches(private, &entry.section, disk, &mut keep).await?;
            self.rows.insert(entry.checkpoint, Arc::new([rows.finish()?]));
        }
        if let Some(early) = &mut self.early {
            early.restore(private, state, disk).await?;
        }
        self.tail = state.tail.clone();
        match &state.hot_table {
            Some(table) => (self.applied, self.floor) = (table.applied, Some(table.floor)),
            None => self.floor = replay::floor_of_before(state),
        }
        if self.hot_from > 0 {
            self.floor = Some(self.floor.unwrap_or(0).max(self.hot_from));
        }
        self.had = self.applied;
        self.note_reached(state);
        self.find_waiting(head);
        Ok(())
    }

    pub(super) fn add(&mut self, rows: Rows) {
        if !rows.is_empty() {
            self.fresh.push(rows);
        }
    }

    /// Rows that may change again. `final_through`: what is final after them.
    pub(super) fn add_early(&mut self, rows: Rows, final_through: Micros) -> Result<()> {
        let Some(early) = &mut self.early else { return Ok(()) };
        early.set_final_through(final_through);
        early.add(rows)
    }

    /// What this checkpoint changes, where changes have public files. Before [`Output::stage`].
    pub(super) fn changes(&self, checkpoint: u64) -> Result<Rows> {
        self.early.as_ref().map_or_else(|| Ok(Rows::default()), |early| early.changes(checkpoint, &self.fresh))
    }

    /// Puts this output's part into a checkpoint: new rows, seals that are done, seals that are next.
    ///
    /// `hot`: for how long what the hot table has had is kept, microseconds; `None` where there is none.
    pub(super) fn stage(
        &mut self,
        draft: &mut Manifest,
        bundle: &mut BundleBuilder,
        hot: Option<Micros>,
    ) -> Result<()> {
        let (checkpoint, created_at) = (draft.id, draft.created_at);
        let state = draft.outputs.entry(self.name.clone()).or_default();
        state.changes = self.changes.clone();
        for (seal, files) in &self.done {
            state.mark_sealed(*seal, files.clone())?;
        }
        if let Some(intent) = &self.planned {
            state.begin_seal(intent.clone());
        }
        for (checkpoint, rows) in &self.again {
            let entries = state.tail.iter_mut().chain(&mut state.hot).filter(|entry| entry.checkpoint == *checkpoint);
            let mut entries = entries.peekable();
            if entries.peek().is_none() {
                continue;
            }
            let section = bundle.add_each(rows.iter().flat_map(Rows::batches))?;
            entries.for_each(|entry| entry.section = section.clone());
        }
        replay::give_up(state, self.hot_from);
        let since = hot.map(|kept| created_at.saturating_sub(kept));
        self.floor = replay::forget(state, self.applied, self.floor, since);
        let hot = hot.is_some();
        if !hot && (!self.fresh.is_empty() || self.early.is_some()) {
            // A table that is switched on later cannot be given these.
            self.floor = Some(checkpoint);
        }
        if !matches!(self.name.as_str(), LATE_LEDGER | DEAD_LETTER_LEDGER | CHANGES) {
            replay::noted(state, self.applied, self.floor);
        }
        if let Some(early) = &mut self.early {
            early.stage(state, bundle, Target { checkpoint, created_at, final_rows: &self.fresh, hot })?;
        }
        if self.fresh.is_empty() {
            return Ok(());
        }
        let fresh = || self.fresh.iter().flat_map(Rows::batches);
        let section = bundle.add_each(fresh())?;
        let entry = tail_entry(checkpoint, created_at, section, fresh(), self.date_column.as_deref())?;
        if let Some(entry) = entry {
            if hot && self.early.is_none() {
                state.hot.push(entry.clone());
            }
            state.tail.push(entry);
        }
        self.staged = Some((checkpoint, self.fresh.clone().into()));
        Ok(())
    }

    /// Says how far the rows of this checkpoint have got, by time column.
    pub(super) fn stage_watermarks(&self, draft: &mut Manifest, marks: Vec<(String, Mark)>) {
        let state = draft.outputs.entry(self.name.clone()).or_default();
        state.watermarks = marks.into_iter().map(|(name, at)| (name, OutputMark::from(at))).collect();
    }

    /// The checkpoint that [`Output::stage`] took part in is durable and is now the head.
    pub(super) fn committed(&mut self, head: &Manifest) {
        if let Some((checkpoint, rows)) = self.staged.take() {
            self.rows.insert(checkpoint, rows);
            self.fresh.clear();
        }
        self.again.clear();
        if let Some(early) = &mut self.early {
            early.committed();
        }
        if !self.done.is_empty() {
            let new = self.done.drain(..).flat_map(|(_, files)| files).map(Arc::new);
            self.sealed = self.sealed.iter().cloned().chain(new).collect();
        }
        self.planned = None;
        self.own_head = true;
        let state = super::output_state(head, &self.name);
        self.tail = state.map_or_else(Vec::new, |state| state.tail.clone());
        state.into_iter().for_each(|state| self.note_reached(state));
        let kept: BTreeSet<u64> = self.tail.iter().map(|entry| entry.checkpoint).collect();
        self.rows.retain(|checkpoint, _| kept.contains(checkpoint));
        self.find_waiting(head);
    }

    /// What the head says of its times holds behind the newest rows of its tail, also where checkpoints without rows came after these.
    fn note_reached(&mut self, state: &OutputState) {
        let tail: BTreeSet<u64> = state.tail.iter().map(|entry| entry.checkpoint).collect();
        if let Some(newest) = tail.last() {
            self.reached.insert(*newest, state.watermarks.clone());
        }
        self.reached.retain(|checkpoint, _| tail.contains(checkpoint));
    }

    fn find_waiting(&mut self, head: &Manifest) {
        self.kept = super::output_state(head, &self.name).map_or_else(Vec::new, |state| {
            backlog::waiting(state, self.hot_from, |checkpoint| match &self.early {
                // The hot table gets more than the tail holds.
                Some(early) => early.hot_rows(checkpoint),
                None => self.rows.get(&checkpoint).cloned(),
            })
        });
        self.note_waiting();
    }

    fn note_waiting(&mut self) {
        self.older.retain(|waiting| waiting.to > self.applied);
        let lacks = |waiting: &&Waiting| waiting.to > self.applied;
        self.waiting = self.older.iter().chain(self.kept.iter().filter(lacks)).cloned().collect();
        self.backlog = backlog::measure(&self.waiting, 0);
    }

    /// Writes rows for the hot table as fewer, longer runs, where there are many of them. Before [`Output::stage`].
    ///
    /// Rows that cannot be read any more are no reason for the query to stop: those that the table has had are let go, and of those that it
    /// lacks it hears when their turn comes.
    pub(super) async fn put_hot_together(
        &mut self,
        private: &Store,
        draft: &mut Manifest,
        bundle: &mut BundleBuilder,
    ) -> Result<()> {
        let mut lost = 0;
        for range in backlog::plan_runs(&self.kept, &[self.applied, self.had]) {
            let waiting = &self.kept[range];
            let together = match backlog::put_together(private, waiting).await {
                Ok(together) => together,
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let had = waiting.last().map(|last| last.to).filter(|to| *to <= self.applied);
                    if let Some(to) = had {
                        warn!(output = self.name, to, error = error.report(), "rows kept for the hot table are lost");
                        lost = lost.max(to);
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            let section = bundle.add(&[together])?;
            let run = backlog::run_of(waiting, section)?;
            let state = draft.outputs.entry(self.name.clone()).or_default();
            let covered = run.from..=run.to;
            state.hot.retain(|entry| !covered.contains(&entry.checkpoint));
            state.hot_runs.retain(|other| !covered.contains(&other.to));
            state.hot_runs.push(run);
            state.hot_runs.sort_by_key(|run| run.to);
        }
        if lost > 0 {
            let state = draft.outputs.entry(self.name.clone()).or_default();
            state.hot.retain(|entry| entry.checkpoint > lost);
            state.hot_runs.retain(|run| run.to > lost);
            state.hot_table.iter_mut().for_each(|table| table.lists.retain(|list| list.to > lost));
            self.floor = Some(self.floor.unwrap_or(0).max(lost));
        }
        Ok(())
    }

    /// Shows readers the head.
    pub(super) fn publish(&self, head: &Manifest) {
        let tail = self.tail.iter().filter_map(|entry| Some((entry.checkpoint, self.rows.get(&entry.checkpoint)?)));
        let tail = tail.flat_map(|(checkpoint, rows)| rows.iter().map(move |rows| (checkpoint, rows.clone())));
        let marks = super::output_state(head, &self.name).map(|state| &state.watermarks);
        // Whether it is idle now is not known before its sources have been asked.
        let mark = |(name, mark): (&String, &OutputMark)| {
            (name.clone(), Mark::from(OutputMark { idle: mark.idle && self.own_head, ..*mark }))
        };
        self.view.publish(ViewSnapshot {
            checkpoint: head.id,
            sealed: Arc::clone(&self.sealed),
            tail: tail.map(|(checkpoint, rows)| TailRows { checkpoint, rows }).collect(),
            early: self.early.as_ref().map(EarlyOutput::shown),
            marks: marks.into_iter().flatten().map(mark).collect(),
            finished: self.finished,
        });
    }

    /// What readers read it by.
    pub(super) fn view(&self) -> &Arc<PublishedView> {
        &self.view
    }

    /// All files that the head lists.
    pub(super) fn sealed(&self) -> &Arc<[Arc<SealedFile>]> {
        &self.sealed
    }

    /// There will be no more rows.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// What the hot table lacks, oldest first.
    pub(super) fn waiting(&self) -> &[Waiting] {
        &self.waiting
    }

    pub(super) fn backlog(&self) -> Backlog {
        self.backlog
    }

    /// How much waits that the hot table has never had: a table that is only given its rows again holds nobody up.
    pub(super) fn new_backlog(&self) -> Backlog {
        backlog::measure(&self.waiting, self.had)
    }

    /// The lists of older runs that the head names for the hot table.
    pub(super) fn hot_lists(&self, head: &Manifest) -> Vec<HotListRef> {
        let table = super::output_state(head, &self.name).and_then(|state| state.hot_table.as_ref());
        table.map_or_else(Vec::new, |table| table.lists.clone())
    }

    /// The hot table is there and says that it stands at `at`: what it needs.
    pub(super) fn hot_needs(&self, at: u64) -> Needs {
        let has_rows = self.has_tail() || !self.sealed.is_empty() || self.early.is_some();
        replay::decide(at, self.floor, has_rows)
    }

    /// The hot table stands at `at`, maybe before what it has had, and gets all rows after that. `older`: of those in lists.
    pub(super) fn go_on_from(&mut self, at: u64, older: &[HotRun]) {
        self.floor.get_or_insert(at);
        self.applied = at;
        self.older = older.iter().map(backlog::of_run).collect();
        self.note_waiting();
    }

    /// The hot table has been made anew, with all rows up to `at`.
    pub(super) fn made_anew(&mut self, at: u64) {
        self.had = self.had.max(at);
        self.go_on_from(at, &[]);
    }

    /// The hot table has everything up to `applied`. Returns whether the next checkpoint has something to note.
    pub(super) fn note_applied(&mut self, applied: u64) -> bool {
        self.applied = self.applied.max(applied);
        self.had = self.had.max(self.applied);
        let before = self.waiting.len();
        self.note_waiting();
        self.waiting.len() < before
    }

    /// The checkpoint up to which the hot table has ever had everything, as far as this process knows.
    pub(super) fn had_hot(&self) -> u64 {
        self.had
    }

    pub(super) fn has_hot(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn has_tail(&self) -> bool {
        !self.tail.is_empty() || !self.fresh.is_empty()
    }

    /// Decides on the next seal where one is due. Returns whether there is something for the next checkpoint.
    pub(super) fn plan_seal(
        &mut self,
        limits: SealLimits,
        paths: &QueryPaths,
        generation: Generation,
        head: &Manifest,
        clock: &Clock,
    ) -> bool {
        self.see_tail(head, clock);
        let Some(state) = super::output_state(head, &self.name) else { return false };
        // One at a time: what is intended is written before anything else is.
        if !state.intents.is_empty() {
            return false;
        }
        let names = SealNames { paths, output: &self.name, generation };
        let age = |entry: &TailEntry| self.ages.age(entry, clock);
        self.planned = plan_seal(state, limits, names, self.date_column.as_deref(), None, age);
        if let Some(intent) = &mut self.planned {
            intent.watermarks = self.reached.get(&intent.to).cloned().unwrap_or_default();
        }
        self.planned.is_some()
    }

    /// Notes since when its rows have been there: at a start, and whenever it is looked what is to be sealed.
    pub(super) fn see_tail(&mut self, head: &Manifest, clock: &Clock) {
        let tail = super::output_state(head, &self.name).map_or(&[][..], |state| state.tail.as_slice());
        self.ages.see(tail, clock);
    }

    /// What the head intends and nobody has written yet. `at`: this output's place among those of its query.
    pub(super) fn seal_jobs(&self, at: usize, head: &Manifest) -> Vec<SealJob> {
        let Some(state) = super::output_state(head, &self.name) else { return Vec::new() };
        let open = state.intents.iter().filter(|intent| !self.done.iter().any(|(seal, _)| *seal == intent.seal));
        let job = |intent: &SealIntent| {
            let rows_of = |entry: TailEntry| {
                let rows = self.rows.get(&entry.checkpoint).cloned().unwrap_or_default();
                (entry, rows)
            };
            SealJob {
                output: at,
                intent: intent.clone(),
                inputs: state.seal_inputs(intent).into_iter().map(rows_of).collect(),
                read_on: !self.view.version.is_empty(),
            }
        };
        open.map(job).collect()
    }

    /// The files of a seal are written: the next checkpoint is to list them.
    pub(super) fn note_sealed(&mut self, seal: u64, files: Vec<SealedFile>) {
        self.done.push((seal, files));
    }

    /// What the tail takes in memory and on local disk.
    pub(super) fn tail_bytes(&self) -> u64 {
        self.rows.values().flat_map(|rows| rows.iter()).map(|rows| rows.bytes() as u64 + rows.disk_bytes()).sum()
    }

    pub(super) fn tail_entries(&self) -> usize {
        self.tail.len()
    }

    /// As if its first entry were many.
    #[cfg(test)]
    pub(super) fn repeat_tail(&mut self, entries: usize) {
        self.tail = self.tail.iter().take(1).cycle().take(entries).cloned().collect();
    }

    /// The column that dates its rows.
    pub(super) fn date_column(&self) -> Option<&str> {
        self.date_column.as_deref()
    }

    pub(super) fn tail_rows(&self) -> u64 {
        self.tail.iter().map(|entry| entry.section.rows).sum()
    }

    pub(super) fn sealed_files(&self) -> u64 {
        self.sealed.len() as u64
    }
}

#[cfg(test)]
mod tests;
