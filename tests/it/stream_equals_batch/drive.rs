//! One query run to its end in this process: in batch over all its rows, and as a stream by a script of epochs, with steps that are
//! undone and restarts from the last checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::physical_plan::collect;
use libtest_mimic::Failed;
use touchline::catalog::{Defined, Statement, TableDef, ViewDef};
use touchline::error::{Error, Result};
use touchline::operator::contract::{LateRow, RestoredSegment, StoredSegment};
use touchline::pipeline::{Pipeline, PlanSettings, Planned, StepInput, Tables, plan, plan_bounded};
use touchline::source::{Offset, Origins, Partition, Progress};
use touchline::sql::parse_file;
use touchline::watermark::{END, Mark, SourceWatermark};

use super::answer::{Answer, answer, difference};
use super::rows::{Place, Row, Rows, STREAMS, TABLES, static_batch, stream_batch};
use super::script::{After, Epoch, Script};

/// Rounds in which what one operator closes at the end is taken by the next.
const LAST_ROUNDS_MAX: usize = 20;

/// What is wrong with a case, beside an answer that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The query is refused.
    Refused,
    /// It fails over these rows.
    Failed,
    /// The answers differ.
    Differs,
    /// Something about the way there: rows that are late and came in time, state that is left.
    Unsound,
}

#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(fault: Fault, text: impl Into<String>) -> Self {
        Failure { fault, text: text.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::new(Fault::Failed, error.report())
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        Failure::new(Fault::Failed, failed.message().unwrap_or_default())
    }
}

/// A query and its rows.
#[derive(Debug)]
pub(super) struct Case {
    defined: Defined,
    view: ViewDef,
    pub(super) rows: Rows,
}

impl Tables for Case {
    fn defined(&self) -> &Defined {
        &self.defined
    }

    fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
        let schema = table.schema();
        let failed = |failed: Failed| Error::bug(failed.message().unwrap_or_default());
        let partitions = match stream_number(&table.name) {
            Some(at) => {
                let batches = self.rows.streams[at].iter().map(|rows| Ok(vec![stream_batch(&schema, rows)?]));
                batches.collect::<std::result::Result<_, Failed>>().map_err(failed)?
            }
            None => vec![vec![static_batch(&schema, &self.rows.statics).map_err(failed)?]],
        };
        Ok(Arc::new(MemTable::try_new(schema, partitions)?))
    }
}

fn stream_number(table: &str) -> Option<usize> {
    STREAMS.iter().position(|(name, ..)| *name == table)
}

impl Case {
    /// `text`: plain views and one materialized view.
    pub(super) fn new(text: &str, rows: Rows) -> std::result::Result<Self, Failure> {
        let refused = |error: &Error| Failure::new(Fault::Refused, error.report());
        let statements = parse_file("case.sql", &format!("{TABLES}{text}"))
            .map_err(|errors| errors.first().map_or(Failure::new(Fault::Refused, "no reason"), refused))?;
        let (mut tables, mut plain_views, mut views) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for statement in statements {
            match statement {
                Statement::CreateTable(table) => drop(tables.insert(table.name.clone(), Arc::new(table))),
                Statement::CreatePlainView(view) => drop(plain_views.insert(view.name.clone(), Arc::new(view))),
                Statement::CreateView(view) => views.push(view),
                _ => return Err(Failure::new(Fault::Refused, "a case has tables and views alone")),
            }
        }
        match views.pop() {
            Some(view) if views.is_empty() => Ok(Case { defined: Defined { tables, plain_views }, view, rows }),
            _ => Err(Failure::new(Fault::Refused, "a case has one materialized view")),
        }
    }

    /// The answer of the same text over everything at once.
    pub(super) async fn batch(&self) -> std::result::Result<Answer, Failure> {
        let settings = PlanSettings { partitions: 2, wide_rows: 1 };
        let planned = plan_bounded(&self.view, self, settings).await;
        let planned = planned.map_err(|error| Failure::new(Fault::Refused, format!("in batch: {}", error.report())))?;
        let Planned::Batch(context, logical) = planned else {
            return Err(Failure::new(Fault::Refused, "the bounded plan is a stream"));
        };
        let batches = async {
            let physical = context.state().create_physical_plan(&logical).await?;
            collect(physical, context.task_ctx()).await
        };
        let batches = batches.await.map_err(|error| Failure::from(Error::from(error)))?;
        Ok(answer(&batches)?)
    }

    pub(super) async fn planned(&self, settings: PlanSettings) -> std::result::Result<Pipeline, Failure> {
        match plan(&self.view, self, settings).await {
            Ok(Planned::Stream(pipeline)) => Ok(*pipeline),
            Ok(Planned::Batch(..)) => Err(Failure::new(Fault::Refused, "it reads no stream")),
            Err(error) => Err(Failure::new(Fault::Refused, error.report())),
        }
    }

    /// The partitions of each stream that the query reads, by slot.
    pub(super) fn sources(&self, pipeline: &Pipeline) -> Vec<&Vec<Vec<Row>>> {
        let tables = pipeline.slots.iter().map(|slot| stream_number(&slot.table.name).unwrap_or_default());
        tables.map(|at| &self.rows.streams[at]).collect()
    }

    /// In what the stream that `script` makes of the rows differs from `batch`. What came too late for the stream is in neither.
    pub(super) async fn compared(
        &self,
        script: &Script,
        batch: Answer,
    ) -> std::result::Result<Option<String>, Failure> {
        let Streamed { answer, late } = self.stream(script).await?;
        let batch = if late.is_empty() { batch } else { self.without(&late).batch().await? };
        Ok(difference(&batch, &answer, ["batch", "stream"]))
    }

    fn without(&self, late: &BTreeSet<Place>) -> Self {
        Case { defined: self.defined.clone(), view: self.view.clone(), rows: self.rows.without(late) }
    }

    async fn stream(&self, script: &Script) -> std::result::Result<Streamed, Failure> {
        let settings = PlanSettings { partitions: script.partitions, wide_rows: script.wide_rows };
        let mut run = Run::new(self, self.planned(settings).await?);
        run.pipeline.pass(&run.marks());
        let mut saved = run.checkpoint()?;
        // Epochs since then.
        let mut since: Vec<Epoch> = Vec::new();
        for epoch in &script.epochs {
            run.epoch(epoch).await?;
            since.push(epoch.clone());
            match epoch.after {
                After::Nothing => {}
                After::Checkpoint => {
                    saved = run.checkpoint()?;
                    since.clear();
                }
                After::Crash => {
                    run = Run::restored(self, self.planned(settings).await?, &saved)?;
                    // What was read in several epochs comes again in one.
                    run.epoch(&Epoch::together(&since)).await?;
                    saved = run.checkpoint()?;
                    since.clear();
                }
            }
        }
        run.end().await
    }
}

/// What a stream has come to.
#[derive(Debug, Clone, Default)]
struct Streamed {
    answer: Answer,
    /// The rows that are in none of it.
    late: BTreeSet<Place>,
}

/// A query in motion, by the rules of `epoch::Driver`.
struct Run<'a> {
    case: &'a Case,
    pipeline: Pipeline,
    watermarks: Vec<SourceWatermark>,
    /// The next row of each partition, by slot.
    next: Vec<Vec<usize>>,
    streamed: Streamed,
    epochs: u64,
}

/// What a checkpoint holds.
struct Saved {
    operators: Vec<SavedOperator>,
    outputs: Vec<(String, Mark)>,
    /// Of each slot, its mark and the latest time of each partition.
    sources: Vec<(Mark, Vec<Option<i64>>)>,
    next: Vec<Vec<usize>>,
    streamed: Streamed,
}

struct SavedOperator {
    id: String,
    state: String,
    position: u64,
    marks: Vec<i64>,
    /// Written as a bundle holds them.
    segments: Vec<(StoredSegment, Vec<u8>)>,
}

impl<'a> Run<'a> {
    fn new(case: &'a Case, pipeline: Pipeline) -> Self {
        let sources = case.sources(&pipeline);
        let next: Vec<Vec<usize>> = sources.iter().map(|partitions| vec![0; partitions.len()]).collect();
        let mut watermarks = Vec::new();
        for (slot, partitions) in pipeline.slots.iter().zip(&next) {
            let mut watermark = SourceWatermark::new(slot.table.watermark.as_ref());
            // Every partition is known from the beginning, so that the first that speaks does not run ahead of the others.
            for partition in 0..partitions.len() {
                watermark.observe(number(partition), &progress(0, 0, None), 0);
            }
            watermarks.push(watermark);
        }
        Run { case, pipeline, watermarks, next, streamed: Streamed::default(), epochs: 0 }
    }

    fn marks(&self) -> Vec<Mark> {
        self.watermarks.iter().map(SourceWatermark::mark).collect()
    }

    async fn epoch(&mut self, epoch: &Epoch) -> std::result::Result<(), Failure> {
        let mut batches = vec![Vec::new(); self.next.len()];
        let mut origins = vec![Vec::new(); self.next.len()];
        let case = self.case;
        for chunk in &epoch.chunks {
            let rows = &case.sources(&self.pipeline)[chunk.slot][chunk.partition];
            let from = self.next[chunk.slot][chunk.partition];
            let to = rows.len().min(from + chunk.rows);
            let rows = &rows[from..to];
            let slot = &self.pipeline.slots[chunk.slot];
            let batch = stream_batch(&slot.table.schema(), rows)?;
            let batch = batch.project(slot.columns()).map_err(|error| Failure::from(Error::from(error)))?;
            batches[chunk.slot].push(batch);
            origins[chunk.slot].push(Origins::records(number(chunk.partition), offset(from), rows.len()));
            let latest = rows.iter().filter_map(|row| row.ts).max();
            self.watermarks[chunk.slot].observe(number(chunk.partition), &progress(from, to, latest), 0);
            self.next[chunk.slot][chunk.partition] = to;
        }
        for watermark in &mut self.watermarks {
            watermark.advance();
        }
        for slot in &epoch.ended {
            self.watermarks[*slot].force(END);
        }
        let marks = self.marks();
        if let Some(undone) = epoch.undone {
            // A step that is not committed leaves nothing behind, whatever it has read and closed.
            let sources = if undone.to_the_end { vec![Mark::END; marks.len()] } else { marks.clone() };
            self.step(batches.clone(), origins.clone(), sources).await?;
            self.pipeline.abort();
        }
        let empty = batches.iter().flatten().all(|batch: &RecordBatch| batch.num_rows() == 0);
        if empty && !self.pipeline.due(&marks) {
            self.pipeline.pass(&marks);
            return Ok(());
        }
        self.committed(batches, origins, marks).await
    }

    async fn step(
        &mut self,
        batches: Vec<Vec<RecordBatch>>,
        origins: Vec<Vec<Origins>>,
        sources: Vec<Mark>,
    ) -> std::result::Result<Streamed, Failure> {
        self.epochs += 1;
        let input = StepInput { epoch: self.epochs, now: 0, batches, origins, sources };
        let output = self.pipeline.step(input).await?;
        let late = output.late.iter().map(|late| self.place_of(late)).collect::<std::result::Result<_, Failure>>()?;
        if let Some(bad) = output.bad.first() {
            return Err(Failure::new(Fault::Failed, bad.reason.clone()));
        }
        let batches: Vec<RecordBatch> = output.rows.batches().collect::<Result<_, _>>()?;
        Ok(Streamed { answer: answer(&batches)?, late })
    }

    async fn committed(
        &mut self,
        batches: Vec<Vec<RecordBatch>>,
        origins: Vec<Vec<Origins>>,
        sources: Vec<Mark>,
    ) -> std::result::Result<(), Failure> {
        let Streamed { answer, late } = self.step(batches, origins, sources).await?;
        self.pipeline.commit()?;
        self.streamed.answer.extend(answer);
        self.streamed.late.extend(late);
        Ok(())
    }

    /// The row that an entry of the late ledger is about: it may be late only if its partition has had a row that is later by more than
    /// delay and allowed lateness, and it is in no window at all.
    fn place_of(&self, late: &LateRow) -> std::result::Result<Place, Failure> {
        let unsound = || Failure::new(Fault::Unsound, format!("a row is late: {late:?}"));
        let origin = late.origin.as_ref().filter(|_| late.wholly).ok_or_else(unsound)?;
        let stream = stream_number(&origin.topic).ok_or_else(unsound)?;
        let partition = usize::try_from(origin.partition).unwrap_or_default();
        let at = usize::try_from(origin.offset).unwrap_or_default();
        let rows = &self.case.rows.streams[stream][partition];
        let lateness = self.case.view.options.allowed_lateness.as_micros();
        let (_, _, delay) = STREAMS[stream];
        let in_time = delay + i64::try_from(lateness).unwrap_or(i64::MAX);
        let newest = rows[..at].iter().filter_map(|row| row.ts).max();
        match newest.zip(rows[at].ts) {
            Some((newest, ts)) if ts < newest - in_time => Ok((stream, partition, at)),
            _ => Err(unsound()),
        }
    }

    /// Everything has been read: what is open closes.
    async fn end(mut self) -> std::result::Result<Streamed, Failure> {
        let slots = self.next.len();
        for _ in 0..LAST_ROUNDS_MAX {
            if self.pipeline.open_panes() == 0 {
                break;
            }
            self.committed(vec![vec![]; slots], vec![], vec![Mark::END; slots]).await?;
        }
        match (self.pipeline.open_panes(), self.pipeline.state_bytes()) {
            (0, 0) => Ok(self.streamed),
            (panes, bytes) => Err(Failure::new(
                Fault::Unsound,
                format!("{panes} panes and {bytes} bytes of state are left at the end"),
            )),
        }
    }

    fn checkpoint(&self) -> std::result::Result<Saved, Failure> {
        let mut operators = Vec::new();
        for (operator, marks) in self.pipeline.operators().iter().zip(self.pipeline.kept_marks()) {
            let segments = operator.segments().into_iter();
            let segments = segments.map(|stored| {
                let batches: Vec<RecordBatch> = stored.segment.rows.batches().collect::<Result<_, _>>()?;
                Ok((stored, written(&batches)?))
            });
            operators.push(SavedOperator {
                id: operator.id().to_owned(),
                state: operator.state_schema_sha256()?,
                position: operator.position(),
                marks,
                segments: segments.collect::<std::result::Result<_, Failure>>()?,
            });
        }
        let times = |watermark: &SourceWatermark| {
            let latest = watermark.partitions().map(|(_, time, _)| time.event_time_max).collect();
            (watermark.mark(), latest)
        };
        Ok(Saved {
            operators,
            outputs: self.pipeline.output_marks(),
            sources: self.watermarks.iter().map(times).collect(),
            next: self.next.clone(),
            streamed: self.streamed.clone(),
        })
    }

    /// As `epoch::restore` does it.
    fn restored(case: &'a Case, pipeline: Pipeline, saved: &Saved) -> std::result::Result<Self, Failure> {
        for (at, (operator, saved)) in pipeline.operators().iter().zip(&saved.operators).enumerate() {
            if (operator.id(), &operator.state_schema_sha256()?) != (saved.id.as_str(), &saved.state) {
                let what = format!("operator {} of the same text is {} after a restart", saved.id, operator.id());
                return Err(Failure::new(Fault::Unsound, what));
            }
            operator.restore_position(saved.position);
            pipeline.restore_marks(at, |input| saved.marks.get(input).copied());
            for (stored, bytes) in &saved.segments {
                operator.restore(RestoredSegment {
                    input: stored.input,
                    shard: stored.shard,
                    pane: stored.pane,
                    id: stored.segment.id,
                    level: stored.segment.level,
                    batches: read(bytes)?,
                })?;
            }
        }
        for (column, mark) in &saved.outputs {
            pipeline.restore_output_mark(column, *mark);
        }
        let mut run = Run::new(case, pipeline);
        for (watermark, (mark, latest)) in run.watermarks.iter_mut().zip(&saved.sources) {
            watermark.restore(mark.at, latest.iter().enumerate().map(|(at, latest)| (number(at), *latest)), 0);
        }
        run.pipeline.pass(&run.marks());
        run.next = saved.next.clone();
        run.streamed = saved.streamed.clone();
        Ok(run)
    }
}

fn number(partition: usize) -> Partition {
    Partition::try_from(partition).unwrap_or_default()
}

fn offset(at: usize) -> Offset {
    Offset::try_from(at).unwrap_or_default()
}

fn progress(from: usize, to: usize, event_time_max: Option<i64>) -> Progress {
    Progress {
        from: offset(from),
        to: offset(to),
        records: u64::try_from(to - from).unwrap_or_default(),
        event_time_max,
        far_future: 0,
        end: None,
    }
}

fn written(batches: &[RecordBatch]) -> std::result::Result<Vec<u8>, Failure> {
    let write = || {
        let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
        let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
        batches.iter().try_for_each(|batch| writer.write(batch))?;
        writer.into_inner()
    };
    write().map_err(|error| Error::from(error).into())
}

fn read(bytes: &[u8]) -> std::result::Result<Vec<RecordBatch>, Failure> {
    let batches = StreamReader::try_new(Cursor::new(bytes), None).and_then(Iterator::collect);
    batches.map_err(|error| Error::from(error).into())
}
