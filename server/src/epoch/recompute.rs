//! The state of a damaged checkpoint, computed again from an older one: the input between the two is read once more, cut where the
//! checkpoints between them had cut it.
//!
//! Nothing of it leaves: what these checkpoints have emitted is committed and out. Of their rows only those are taken whose own place is
//! damaged. At each cut the marks are those that the manifest says, since a source that was idle then is not idle now; and what has been
//! counted must be what the manifest says, or the state is another one than it was and is not gone on from.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use tracing::{info, warn};

use super::ledger;
use super::restore::{QueryDeps, restore_operators, restored_watermark};
use crate::catalog::{Connector, StartAt, ViewDef};
use crate::checkpoint::{
    Accounting, DEAD_LETTER_LEDGER, Damage, Fallback, LATE_LEDGER, Manifest, Section, SourceState, damage_of, fall_back,
};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::operator::contract::LateRow;
use crate::pipeline::{Pipeline, StepInput, StreamSlot};
use crate::source::reader::{OpenSpec, spawn_reader};
use crate::source::{DeadLetter, Identity, Offsets, Origins, SourceBatch};
use crate::state::{Account, Rows};
use crate::status::{Step, Steps};
use crate::watermark::{Mark, NONE};

/// What a checkpoint says, with what has been computed again in place of what is damaged.
#[derive(Debug, Default)]
pub(super) struct Recomputed {
    /// Where the segments are that a checkpoint holds, by operator and segment.
    pub(super) written: HashMap<(String, u64), Section>,
    /// By output: rows of checkpoints whose place is damaged.
    pub(super) rows: HashMap<String, BTreeMap<u64, Arc<[Rows]>>>,
    /// By output: up to which checkpoint nothing is left for its hot table.
    pub(super) hot: BTreeMap<String, u64>,
}

/// Brings the pipeline to where `head` stands. `None` where nothing of it is damaged; the pipeline is untouched then.
///
/// # Errors
/// `Corrupt` where that cannot be done exactly, with what is in the way; those of the sources and of the query.
pub(super) async fn recompute(
    pipeline: &Pipeline,
    view: &ViewDef,
    name: &str,
    head: &Manifest,
    deps: &QueryDeps,
    account: &Arc<Account>,
    steps: &Steps,
) -> Result<Option<Recomputed>> {
    let damage = damage_of(&deps.private, head).await?;
    if damage.is_empty() {
        return Ok(None);
    }
    if damage.leaves_state_and_rows() {
        warn!(query = view.name, checkpoint = head.id, ?damage, "rows kept for the hot table are lost");
        let written = restore_operators(pipeline, &deps.private, head).await?;
        return Ok(Some(Recomputed { written, rows: HashMap::new(), hot: damage.hot }));
    }
    let Fallback { base, cuts } = fall_back(&deps.private, head, &damage).await?;
    if let Some(why) = cannot_be_repeated(pipeline, &base, &damage) {
        return Err(Error::corrupt(format!(
            "checkpoint {} of query {:?} is damaged and cannot be computed again",
            head.id, head.query
        ))
        .detail(why)
        .hint(format!(
            "`touchline state verify {}` names the objects: restore them from a backup; or give the checkpoints behind an older one up with \
             `touchline state drop {} --from N`",
            head.query, head.query
        )));
    }
    warn!(
        query = view.name,
        checkpoint = head.id,
        from = base.id,
        ?damage,
        "checkpoint is damaged, computing it again"
    );
    let written = restore_operators(pipeline, &deps.private, &base).await?;
    pipeline.pass(&marks(pipeline, &base));
    let mut again = Recompute {
        pipeline,
        view: &view.name,
        output: name,
        deps,
        account,
        identities: pipeline.slots.iter().map(|slot| identity(head.sources.get(&slot.table.name))).collect(),
        accounting: base.accounting,
        epoch: 0,
        steps,
    };
    let mut rows: HashMap<String, BTreeMap<u64, Arc<[Rows]>>> = HashMap::new();
    let mut before = base;
    for cut in cuts {
        let wanted = [name, LATE_LEDGER, DEAD_LETTER_LEDGER]
            .map(|output| damage.rows.get(output).is_some_and(|ids| ids.contains(&cut.id)));
        for (output, found) in again.run(&before, &cut, wanted).await? {
            rows.entry(output).or_default().insert(cut.id, found);
        }
        before = cut;
    }
    complete(&damage, head, &rows)?;
    info!(query = view.name, checkpoint = head.id, "checkpoint is computed again, and agrees with what it had counted");
    Ok(Some(Recomputed { written, rows, hot: damage.hot }))
}

/// Why the way from `base` on cannot be gone a second time, where that can be seen before.
fn cannot_be_repeated(pipeline: &Pipeline, base: &Manifest, damage: &Damage) -> Option<String> {
    // As many rows as there were, and not the same: what was shown and is in the hot table would never be in a file.
    if pipeline.is_volatile && !damage.rows.is_empty() {
        return Some("the query gives other values each time, and its lost rows had been shown".to_owned());
    }
    if pipeline.early().is_some() {
        return Some("its results leave before they are final, and which ones had left is not kept".to_owned());
    }
    // Also one that is read once: it is read at each start, and what it held at the start before may be another thing.
    if let Some(name) = pipeline.static_names.first() {
        return Some(format!("table \"{name}\" is read beside the streams, and what it held then is not kept"));
    }
    pipeline.slots.iter().find_map(|slot| {
        let name = &slot.table.name;
        match &slot.table.connector {
            Connector::Kafka(topic) => {
                let begun = base.sources.get(name).is_some_and(|state| !state.offsets.is_empty());
                let knows = begun || topic.start == StartAt::Earliest;
                (!knows).then(|| format!("where \"{name}\" was begun is not known before checkpoint {}", base.id))
            }
            Connector::View(_) => Some(format!("view \"{name}\" is not read a second time")),
            Connector::Filesystem(_) | Connector::Postgres(_) => {
                Some(format!("the files of \"{name}\" are not read a second time"))
            }
        }
    })
}

fn identity(state: Option<&SourceState>) -> Identity {
    state.map_or_else(Identity::default, |state| Identity { topic: state.topic_id.clone(), files: state.files.clone() })
}

/// How far the sources had got at a checkpoint, as it says it itself.
fn marks(pipeline: &Pipeline, at: &Manifest) -> Vec<Mark> {
    let restored =
        |slot: &Arc<StreamSlot>| restored_watermark(slot, at.sources.get(&slot.table.name), at.created_at).marks();
    pipeline.slots.iter().flat_map(restored).collect()
}

/// Whether all rows are there again, and as many as were lost.
fn complete(damage: &Damage, head: &Manifest, rows: &HashMap<String, BTreeMap<u64, Arc<[Rows]>>>) -> Result<()> {
    for (output, ids) in &damage.rows {
        let entries = head.outputs.get(output).into_iter().flat_map(|state| state.tail.iter().chain(&state.hot));
        for entry in entries.filter(|entry| ids.contains(&entry.checkpoint)) {
            let found = rows.get(output).and_then(|rows| rows.get(&entry.checkpoint));
            let found: usize = found.iter().flat_map(|rows| rows.iter()).map(Rows::num_rows).sum();
            if found as u64 != entry.section.rows {
                let (found, lost) = (found.to_string(), entry.section.rows.to_string());
                return Err(other(
                    head,
                    &format!("rows of {output:?} of checkpoint {}", entry.checkpoint),
                    &found,
                    &lost,
                ));
            }
        }
    }
    Ok(())
}

fn other(at: &Manifest, what: &str, found: &str, said: &str) -> Error {
    Error::corrupt(format!("checkpoint {} of query {:?} is damaged, and computed again it is another one", at.id, at.query))
        .detail(format!("{what}: {found}, and the manifest says {said}"))
        .hint(format!(
            "`touchline state verify {}` names the damaged objects: restore them from a backup; or give the checkpoints behind an \
             older one up with `touchline state drop {} --from N`",
            at.query, at.query
        ))
}

/// Input that is no longer there is lost to the damaged checkpoint alone: what is to be done is another thing than for a query that would read on.
fn gone(at: &Manifest, error: Error) -> Error {
    let Some(range) = error.lost().map(str::to_owned) else { return error };
    Error::corrupt(format!("checkpoint {} of query {:?} is damaged and cannot be computed again", at.id, at.query))
        .detail(format!("what had been read is gone: {range}"))
        .hint(format!("`touchline state verify {}` names the objects: restore them from a backup", at.query))
        .caused_by(error)
}

/// The way from one checkpoint to the next.
struct Recompute<'a> {
    pipeline: &'a Pipeline,
    view: &'a str,
    /// What the view's output is called in manifests.
    output: &'a str,
    deps: &'a QueryDeps,
    account: &'a Arc<Account>,
    identities: Vec<Identity>,
    accounting: Accounting,
    epoch: u64,
    /// Told what is done, so that what takes long is not taken to hang.
    steps: &'a Steps,
}

/// What a way has brought.
#[derive(Default)]
struct Found {
    /// Whether its rows, late rows and dead letters are wanted: what is not is counted and let go.
    wanted: [bool; 3],
    rows: Vec<Rows>,
    late: Vec<LateRow>,
    dead_letters: Vec<DeadLetter>,
}

impl Recompute<'_> {
    /// Reads what checkpoint `to` had read since `from`. Returns the rows that it had brought, by output, where they are wanted (rows, late
    /// rows, dead letters): between two checkpoints that are kept there can be hours, and all of these rows are out.
    async fn run(&mut self, from: &Manifest, to: &Manifest, wanted: [bool; 3]) -> Result<Vec<(String, Arc<[Rows]>)>> {
        let mut found = Found { wanted, ..Found::default() };
        // Rows are late against the marks before, and nothing closes until all of them are there: then it is the same in how many steps.
        let before = marks(self.pipeline, from);
        for at in 0..self.pipeline.slots.len() {
            self.read(at, from, to, &before, &mut found).await?;
        }
        let after = marks(self.pipeline, to);
        if self.pipeline.due(&after) {
            let nothing = vec![Vec::new(); self.pipeline.slots.len()];
            self.step(nothing, vec![], after, to.created_at, &mut found).await?;
        } else {
            self.pipeline.pass(&after);
        }
        self.agree(to)?;
        let late = Rows::of(ledger::late_batches(self.view, &found.late)?, self.account)?;
        let dead = ledger::dead_letter_batches(self.view, &found.dead_letters, to.created_at)?;
        let dead = Rows::of(dead, self.account)?;
        let rows: [(&str, Arc<[Rows]>); 3] = [
            (self.output, found.rows.into()),
            (LATE_LEDGER, vec![late].into()),
            (DEAD_LETTER_LEDGER, vec![dead].into()),
        ];
        let rows = rows.into_iter().zip(wanted).filter(|(_, wanted)| *wanted);
        Ok(rows.map(|((output, rows), _)| (output.to_owned(), rows)).collect())
    }

    /// Takes in the records of one slot between two checkpoints.
    async fn read(
        &mut self,
        at: usize,
        from: &Manifest,
        to: &Manifest,
        marks: &[Mark],
        found: &mut Found,
    ) -> Result<()> {
        let slot = Arc::clone(&self.pipeline.slots[at]);
        let offsets = |of: &Manifest| -> Offsets {
            let state = of.sources.get(&slot.table.name);
            state.into_iter().flat_map(|state| &state.offsets).map(|(partition, of)| (*partition, of.next)).collect()
        };
        let (resume, until) = (offsets(from), offsets(to));
        if resume == until {
            return Ok(());
        }
        let open = OpenSpec { resume, until: Some(until.clone()), ..OpenSpec::default() };
        let thread = format!("{}/{} again", self.view, slot.table.name);
        let (columns, limits, sources) = (slot.columns().to_vec(), self.deps.reader_limits, self.deps.sources.clone());
        let mut reader = spawn_reader(&thread, Arc::clone(&slot.table), columns, open, limits, sources)?;
        let located = |error: Error| gone(to, error).at(slot.table.location.clone());
        loop {
            self.steps.enter(Step::Reading);
            let Some(batch) = reader.next().await else { break };
            let batch = batch.map_err(located)?;
            if let Some(identity) = &batch.identity {
                self.identities[at].learn(identity, slot.topic(), true).map_err(located)?;
            }
            // One that has less than was read from it would be waited for for ever.
            for (partition, progress) in &batch.progress {
                if let (Some(end), Some(next)) = (progress.end, until.get(partition))
                    && end < *next
                {
                    let what = format!("end of partition {partition} of \"{}\"", slot.table.name);
                    return Err(other(to, &what, &end.to_string(), &format!("that {next} had been read")));
                }
            }
            self.take(at, batch, marks, to.created_at, found).await?;
        }
        Ok(())
    }

    /// Takes in one batch of one slot, against the marks before it.
    async fn take(
        &mut self,
        at: usize,
        batch: SourceBatch,
        marks: &[Mark],
        now: Micros,
        found: &mut Found,
    ) -> Result<()> {
        for progress in batch.progress.values() {
            self.accounting.rows_in += progress.records;
        }
        self.accounting.rows_in += batch.extra_rows;
        self.accounting.filtered += batch.empty_records;
        self.note_dead(batch.dead_letters, found);
        if batch.batches.is_empty() {
            return Ok(());
        }
        let slots = self.pipeline.slots.len();
        let (mut batches, mut origins) = (vec![Vec::new(); slots], vec![Vec::<Origins>::new(); slots]);
        // As in an epoch: a batch whose source does not say where its rows were read has an empty origin.
        origins[at] = batch.origins;
        origins[at].resize(batch.batches.len(), Origins::default());
        batches[at] = batch.batches;
        let step = self.step(batches, origins, marks.to_vec(), now, found).await;
        drop(batch.held);
        step
    }

    async fn step(
        &mut self,
        batches: Vec<Vec<RecordBatch>>,
        origins: Vec<Vec<Origins>>,
        sources: Vec<Mark>,
        now: Micros,
        found: &mut Found,
    ) -> Result<()> {
        self.epoch += 1;
        self.steps.enter(Step::Computing);
        let output = match self.pipeline.step(StepInput { epoch: self.epoch, now, batches, origins, sources }).await {
            Ok(output) => {
                self.pipeline.commit()?;
                output
            }
            Err(error) => {
                self.pipeline.abort();
                return Err(error);
            }
        };
        let wholly = output.late.iter().filter(|row| row.wholly).count() as u64;
        self.accounting.late += wholly;
        self.accounting.late_partly += output.late.len() as u64 - wholly;
        self.accounting.rows_out += output.rows.num_rows() as u64;
        self.accounting.filtered += output.without_time;
        let [rows, late, _] = found.wanted;
        if rows && !output.rows.is_empty() {
            found.rows.push(output.rows);
        }
        if late {
            found.late.extend(output.late);
        }
        self.note_dead(output.bad, found);
        Ok(())
    }

    fn note_dead(&mut self, dead_letters: Vec<DeadLetter>, found: &mut Found) {
        self.accounting.dead += dead_letters.len() as u64;
        if found.wanted[2] {
            found.dead_letters.extend(dead_letters);
        }
    }

    /// Whether what has been counted, and how far the operators have got, is what the checkpoint says.
    fn agree(&self, at: &Manifest) -> Result<()> {
        let (ours, said) = (&self.accounting, &at.accounting);
        for (what, found, said) in [
            ("rows read", ours.rows_in, said.rows_in),
            ("rows emitted", ours.rows_out, said.rows_out),
            ("late rows", ours.late, said.late),
            ("rows late for a part", ours.late_partly, said.late_partly),
            ("dead letters", ours.dead, said.dead),
            ("rows filtered", ours.filtered, said.filtered),
        ] {
            if found != said {
                return Err(other(at, what, &found.to_string(), &said.to_string()));
            }
        }
        for (operator, marks) in self.pipeline.operators().iter().zip(self.pipeline.kept_marks()) {
            let Some(state) = at.operators.iter().find(|state| state.id == operator.id()) else { continue };
            for (input, mark) in marks.into_iter().enumerate() {
                let (found, said) = (Some(mark).filter(|at| *at != NONE), state.mark_of(input));
                if found != said {
                    let what = format!("mark of input {input} of operator {:?}", state.id);
                    return Err(other(at, &what, &format!("{found:?}"), &format!("{said:?}")));
                }
            }
        }
        Ok(())
    }
}
