//! From a planned query and its last checkpoint to a loop that goes on where the last one ended.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use super::clean_up::CleaningUp;
use super::driver::{Driver, EpochLimits};
use super::folder::Folder;
use super::hot::Hot;
use super::ledger::{dead_letter_schema, late_schema};
use super::outputs::Output;
use super::recompute::{self, Recomputed};
use super::refresh::Refresh;
use super::sealing::{SealWriter, Sealing};
use super::{LoopSettings, QueryLoop, verdict};
use crate::catalog::{ParquetRows, QueryVersion, ViewDef};
use crate::changelog::Changes;
use crate::changelog::published::ChangeForm;
use crate::checkpoint::{
    CHANGES, Chain, DEAD_LETTER_LEDGER, DefinitionFile, Generation, Heartbeat, LATE_LEDGER, Manifest, Owner, Section,
    SegmentRef, SourceState, chain_of, keep_definition, keep_definition_files, public_folder, segment_home,
    version_before,
};
use crate::clock::{Clock, Micros};
use crate::error::{Error, ErrorKind, Result};
use crate::operator::contract::RemoteSegment;
use crate::pipeline::{Pipeline, StreamSlot, fetch};
use crate::sink::parquet::check_sealable;
use crate::sink::postgres::{HotTable, PostgresSink};
use crate::source::reader::{OpenSpec, ReaderLimits, SourceDeps, ViewDeps, spawn_reader};
use crate::source::{Identity, Offsets, SharedTopics};
use crate::state::{Account, Budget, Reservation};
use crate::status::{QueryStatus, Step};
use crate::store::{SpillDirectory, Store};
use crate::tables::{About, Published, PublishedView};
use crate::watermark::{Mark, NONE, SlotWatermark, SourceWatermark, ViewWatermark};

/// A segment of more bytes, compressed, is not read at a start but when a window first needs it. A large state is a few of these for the
/// most part; each small one would be a request for which its window waits. At a start memory is empty: what is read then is decoded and put
/// away beside nothing else.
///
/// Tests leave all but single rows where they are.
const READ_AT_START_MAX: u64 = if cfg!(test) { 4 << 10 } else { 64 << 20 };

/// What all queries of a server share.
#[derive(Debug, Clone)]
pub struct QueryDeps {
    pub private: Store,
    pub public: Store,
    pub generation: Generation,
    /// The id of the private store.
    pub state_store: Uuid,
    pub heartbeat: Arc<Heartbeat>,
    pub clock: Clock,
    pub sources: SourceDeps,
    /// The readers of topics that queries have in common.
    pub shared: Arc<SharedTopics>,
    pub reader_limits: ReaderLimits,
    pub epoch_rows_max: usize,
    pub settings: LoopSettings,
    /// Of the whole server.
    pub budget: Arc<Budget>,
    /// Takes what has no room in it.
    pub disk: Option<SpillDirectory>,
    pub postgres: Option<Arc<PostgresSink>>,
    pub published: Arc<Published>,
}

impl QueryDeps {
    /// What reading another view needs.
    fn views(&self) -> ViewDeps {
        let (private, public) = (self.private.clone(), self.public.clone());
        ViewDeps { published: Arc::clone(&self.published), private, public }
    }
}

/// A query that is planned and about to run.
#[derive(Debug)]
pub struct QueryPlan {
    pub view: Arc<ViewDef>,
    pub pipeline: Pipeline,
    /// Names this version of the query: another one does not go on from its checkpoints.
    pub version: QueryVersion,
    /// What is behind that name, a line each.
    pub meaning: String,
    /// The files that define it; none where they are not known.
    pub files: Vec<DefinitionFile>,
}

impl QueryLoop {
    /// Takes the query's chain over, restores state and outputs, starts the readers, and shows the view to readers once all of it is there.
    ///
    /// # Errors
    /// `Fenced` where a newer server owns the query, `Corrupt` for damaged checkpoints, `Invalid` where the view's rows
    /// cannot be stored or were in another form, `Unavailable`.
    pub async fn open(plan: QueryPlan, deps: QueryDeps, status: Arc<QueryStatus>) -> Result<QueryLoop> {
        let opened = Self::open_by(plan, deps, status, Way::AsItStands).await?;
        opened.ok_or_else(|| Error::bug("a query was opened and is not there"))
    }

    /// As [`QueryLoop::open`], where its newest checkpoint has turned out to be damaged: what is, is computed again from an older one.
    /// `None` where nothing of it is.
    ///
    /// # Errors
    /// And `Corrupt` where that cannot be done, with what is in the way.
    pub async fn open_recomputed(
        plan: QueryPlan,
        deps: QueryDeps,
        status: Arc<QueryStatus>,
    ) -> Result<Option<QueryLoop>> {
        Self::open_by(plan, deps, status, Way::Recomputed).await
    }

    async fn open_by(
        plan: QueryPlan,
        deps: QueryDeps,
        status: Arc<QueryStatus>,
        way: Way,
    ) -> Result<Option<QueryLoop>> {
        let QueryPlan { view, mut pipeline, version, meaning, files } = plan;
        status.steps.enter(Step::Restoring);
        let account = deps.budget.account(format!("query \"{}\"", view.name));
        pipeline.charge_to(Arc::clone(&account))?;
        check_sealable(&view.name, &pipeline.schema, pipeline.changes())
            .map_err(|error| error.at(view.location.clone()))?;
        let (chain, name) = take_over(&view.name, &version, &deps).await?;
        let watched = deps.heartbeat.watch(&view.name, &chain);
        note_version(&view.name, &chain, &meaning, &pipeline, &deps.private).await?;
        if !files.is_empty() {
            keep_definition_files(&deps.private, &name, &chain.head().fingerprint, &files).await?;
        }
        let head = chain.head().clone();
        let Recomputed { written, mut rows, hot } = match way {
            Way::AsItStands => {
                let written = restore_operators(&pipeline, &deps.private, &head).await?;
                Recomputed { written, ..Recomputed::default() }
            }
            Way::Recomputed => {
                let steps = &status.steps;
                match recompute::recompute(&pipeline, &view, &name, &head, &deps, &account, steps).await? {
                    Some(recomputed) => recomputed,
                    None => return Ok(None),
                }
            }
        };

        if let Some(state) = super::output_state(&head, &name) {
            for (column, mark) in &state.watermarks {
                pipeline.restore_output_mark(column, Mark::from(*mark));
            }
        }

        let now = deps.clock.steady();
        let (mut readers, mut watermarks, mut offsets) = (Vec::new(), Vec::new(), Vec::<Offsets>::new());
        let mut identities = Vec::new();
        for slot in &pipeline.slots {
            let state = head.sources.get(&slot.table.name);
            let resume: Offsets =
                state.into_iter().flat_map(|state| &state.offsets).map(|(at, of)| (*at, of.next)).collect();
            let views = slot.view().map(|_| deps.views());
            let account = Some(Arc::clone(&account));
            let shared = Some(Arc::clone(&deps.shared));
            let identity = state.map_or_else(Identity::default, |state| Identity {
                topic: state.topic_id.clone(),
                files: state.files.clone(),
            });
            identities.push(identity.clone());
            let identity = Some(Arc::new(identity));
            let open = OpenSpec { resume: resume.clone(), identity, account, views, shared, ..OpenSpec::default() };
            let thread = format!("{}/{}", view.name, slot.table.name);
            let columns = slot.columns().to_vec();
            let table = Arc::clone(&slot.table);
            readers.push(spawn_reader(&thread, table, columns, open, deps.reader_limits, deps.sources.clone())?);
            watermarks.push(restored_watermark(slot, state, now));
            offsets.push(resume);
        }

        let about = About {
            text: view.text.clone(),
            primary_key: primary_key(&view, &pipeline),
            folder: public_folder(&name),
            hot_table: (deps.postgres.is_some() && view.options.postgres != Some(false)).then(|| view.name.clone()),
        };
        let mut outputs = outputs(&view, &name, &pipeline, &account, &version.name, &head, about)?;
        for output in &mut outputs {
            status.steps.enter(Step::Restoring);
            output.put_in_place(rows.remove(output.name()).unwrap_or_default());
            output.give_up_hot(hot.get(output.name()).copied().unwrap_or(0));
            output.restore(&deps.private, &head, &account, deps.disk.as_ref()).await?;
            output.see_tail(&head, &deps.clock);
        }
        let hot = match &deps.postgres {
            Some(sink) if view.options.postgres != Some(false) => {
                let table = HotTable {
                    query: name.clone(),
                    table: view.name.clone(),
                    schema: Arc::clone(&pipeline.schema),
                    primary_key: primary_key(&view, &pipeline),
                    time_column: date_column(&pipeline.schema, true),
                    changes: pipeline.all_changes().clone(),
                };
                // Here, because the task that writes the table would be tried again for ever.
                table.check_changes().map_err(|error| error.at(view.location.clone()))?;
                Some(Hot::new(Arc::clone(sink), table, deps.views()))
            }
            _ => None,
        };
        // Only now: whoever reads it or follows it meanwhile sees what was there before, or nothing, and never half of it.
        for (at, output) in outputs.iter().enumerate() {
            output.publish(&head);
            // Changes are for those who read the files: a statement reads what they come to.
            if at != super::CHANGES {
                deps.published.put_view(Arc::clone(output.view()));
            }
        }
        let owner = Owner::new(&deps.private, deps.state_store, &name, &version.name, deps.generation.instance);
        let folder = Folder::new(deps.public.clone(), chain.paths().clone(), owner, Arc::clone(&status));
        folder.note(&outputs, &head);
        let pipeline = Arc::new(pipeline);
        // Also only now: a table that cannot be read keeps nobody from the rows that are there.
        let refresh = Refresh::start(&pipeline, &deps.clock, &status).await?;
        let what = if head.sources.is_empty() { "query begins" } else { "query restored" };
        info!(query = view.name, checkpoint = head.id, generation = head.generation, "{what}");
        let limits = EpochLimits::within(deps.budget.limit(), deps.epoch_rows_max, false);
        let clock = deps.clock.clone();
        let writer = SealWriter {
            query: status.name.clone(),
            private: deps.private.clone(),
            public: deps.public.clone(),
            disk: deps.disk.clone(),
        };
        Ok(Some(QueryLoop {
            driver: Driver::new(pipeline, readers, watermarks, offsets, clock.clone(), limits)
                .knowing(identities)
                .telling(Arc::clone(&status.steps)),
            chain,
            watched,
            folder: folder.ask(),
            private: deps.private.clone(),
            disk: deps.disk.clone(),
            ledger: Reservation::empty(&account),
            sealing: Sealing::new(writer, &account),
            cleaning_up: CleaningUp::default(),
            account,
            settings: deps.settings,
            clock,
            status,
            outputs,
            late: Vec::new(),
            dead_letters: Vec::new(),
            accounting: head.accounting,
            written,
            hot,
            refresh,
            trouble: None,
            dirty: true,
            last_checkpoint: Instant::now(),
            emitted_at: None,
        }))
    }
}

/// How a query comes to where its newest checkpoint stands.
enum Way {
    AsItStands,
    /// From an older one, where it is damaged.
    Recomputed,
}

/// The chain of this version of the query, and the name of its outputs in it.
///
/// The first version of a view has the view's own name. A later one, which must not go on from another's state nor mix its
/// rows with other columns, has a name that carries its version.
async fn take_over(view: &str, version: &QueryVersion, deps: &QueryDeps) -> Result<(Chain, String)> {
    let name = chain_of(&deps.private, view, version).await?;
    let opened = Chain::open(&deps.private, &name, deps.generation, version.clone(), &deps.clock).await?;
    Ok((opened.chain, name))
}

/// Keeps what this version means, and says what has changed where it begins anew beside another one.
async fn note_version(view: &str, chain: &Chain, meaning: &str, pipeline: &Pipeline, private: &Store) -> Result<()> {
    let head = chain.head();
    if head.parent_sha256.is_none()
        && let Some(before) = version_before(private, view, &head.query).await?
    {
        let changes = verdict::changes(private, &before, meaning).await?.join("; ");
        let operators = verdict::of_operators(&before, pipeline)?.join("; ");
        warn!(query = view, before = before.query, now = head.query, changes, operators, "changed query begins anew");
    }
    keep_definition(private, &head.query, &head.fingerprint, meaning).await
}

/// Restores the segments that the checkpoint lists, the large ones without their rows; returns where each is stored.
pub(super) async fn restore_operators(
    pipeline: &Pipeline,
    private: &Store,
    head: &Manifest,
) -> Result<HashMap<(String, u64), Section>> {
    let mut written = HashMap::new();
    for state in &head.operators {
        let found = pipeline.operators().iter().enumerate().find(|(_, operator)| operator.id() == state.id);
        let Some((number, operator)) = found else {
            return Err(Error::corrupt(format!(
                "checkpoint {} of query {:?} has state for an operator that the query does not have",
                head.id, head.query
            ))
            .detail(format!("operator {:?}", state.id)));
        };
        let other_form = || {
            Error::invalid(format!("the state of query {:?} was written in another form", head.query))
                .hint("rename the view, so that it starts anew beside the old one")
        };
        let kind = operator.kind();
        if (state.kind.as_str(), state.state_version) != (kind.name, kind.version) {
            return Err(other_form().detail(format!(
                "operator {:?} of checkpoint {} is of kind {} {}, the query needs {} {}",
                state.id, head.id, state.kind, state.state_version, kind.name, kind.version
            )));
        }
        operator.restore_position(state.position);
        pipeline.restore_marks(number, |input| state.mark_of(input));
        let mut read = Vec::new();
        for SegmentRef { id, input, shard, pane, level, section } in state.segments.iter().cloned() {
            let home = segment_home(private, &section);
            let segment = RemoteSegment { input, shard, pane, id, level, home };
            // One that is read now is taken up as well, so that it can be given up for those that come after it.
            if !operator.restore_remote(segment.clone()) || section.length <= READ_AT_START_MAX {
                read.push(segment);
            }
            written.insert((state.id.clone(), id), section);
        }
        fetch(operator.as_ref(), read).await.map_err(|error| match error.kind() {
            ErrorKind::Invalid => {
                let detail = format!("operator {:?} of checkpoint {}: {}", state.id, head.id, error.primary());
                other_form().detail(detail)
            }
            _ => error,
        })?;
    }
    Ok(written)
}

/// How far a slot's source had got, as the checkpoint says it.
pub(super) fn restored_watermark(slot: &StreamSlot, state: Option<&SourceState>, now: Micros) -> SlotWatermark {
    if let Some(view) = slot.view() {
        let mut watermark = ViewWatermark::new(view.marks.len());
        let newest = view.marks.iter().map(|mark| state?.newest.get(&mark.name).copied());
        watermark.restore(newest.enumerate().filter_map(|(mark, at)| Some((mark, at?))));
        return watermark.into();
    }
    let mut watermark = SourceWatermark::new(slot.table.watermark.as_ref());
    if let Some(state) = state {
        let times = state.offsets.iter().map(|(partition, at)| (*partition, at.event_time_max));
        watermark.restore(state.watermark.unwrap_or(NONE), times, now);
    }
    watermark.into()
}

/// The view and its two ledgers, and what changes, where that is wanted or has been: rows of then may lack their files, and the files there
/// are would else be strangers in a folder of the query, which then writes none at all. `version`: names what the view computes.
///
/// # Errors
/// As [`ChangeForm::try_new`].
fn outputs(
    view: &ViewDef,
    name: &str,
    pipeline: &Pipeline,
    account: &Arc<Account>,
    version: &str,
    head: &Manifest,
    about: About,
) -> Result<Vec<Output>> {
    let ledger = |kind: &str, schema| {
        let shown = Arc::new(PublishedView::new(format!("{kind}.{}", view.name), schema));
        Output::new(kind.to_owned(), None, &Changes::Append, shown)
    };
    let late = ledger(LATE_LEDGER, late_schema());
    let dead_letters = ledger(DEAD_LETTER_LEDGER, dead_letter_schema());
    let shown = PublishedView::new(view.name.clone(), Arc::clone(&pipeline.schema)).of_version(version);
    let shown = Arc::new(shown.described(about));
    let main = Output::new(name.to_owned(), date_column(&pipeline.schema, false), pipeline.all_changes(), shown);
    let Some(form) = pipeline.early() else { return Ok(vec![main, late, dead_letters]) };
    let main = main.with_early(form, account);
    let wanted = view.options.parquet_rows == ParquetRows::Changes;
    if !wanted && super::output_state(head, CHANGES).is_none() {
        return Ok(vec![main, late, dead_letters]);
    }
    let form = ChangeForm::try_new(form).map_err(|error| error.at(view.location.clone()))?;
    let shown = Arc::new(PublishedView::new(format!("{CHANGES}.{}", view.name), Arc::clone(form.schema())));
    let changes = Output::new(CHANGES.to_owned(), date_column(form.schema(), false), &Changes::Append, shown);
    let main = if wanted { main.with_changes(form) } else { main };
    Ok(vec![main, late, dead_letters, changes])
}

/// What the hot table is upserted by: as the view says, or by what names a row where rows replace one another.
fn primary_key(view: &ViewDef, pipeline: &Pipeline) -> Vec<String> {
    match pipeline.early() {
        Some(form) if view.options.primary_key.is_empty() => {
            form.key().iter().map(|at| pipeline.schema.field(*at).name().clone()).collect()
        }
        _ => view.options.primary_key.clone(),
    }
}

/// The column that dates a view's rows: `window_start` where there is one, else the first timestamp or date.
fn date_column(schema: &Schema, plain: bool) -> Option<String> {
    let is_time = |data_type: &DataType| matches!(data_type, DataType::Timestamp(..) | DataType::Date32);
    let named = ["window_start", "window_end"].into_iter().find_map(|name| {
        schema.field_with_name(name).ok().filter(|field| is_time(field.data_type())).map(|field| field.name().clone())
    });
    let window = || {
        let is_window = |data_type: &DataType| matches!(data_type, DataType::Struct(fields) if fields.iter().any(|field| field.name() == "start" && is_time(field.data_type())));
        schema.fields().iter().find(|field| !plain && is_window(field.data_type())).map(|field| field.name().clone())
    };
    let first = || schema.fields().iter().find(|field| is_time(field.data_type())).map(|field| field.name().clone());
    named.or_else(first).or_else(window)
}

#[cfg(test)]
mod tests;
