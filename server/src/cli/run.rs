//! `touchline run`: statements over bounded files, to their end.
//!
//! The plans, operators and epochs are those of the server; only durability is left out. A view is computed when a later
//! statement reads it.

mod losses;
mod named_file;
mod outputs;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::sql::sqlparser::ast::Query;

use self::losses::{Losses, records};
use self::named_file::{beside, named_files};
use self::outputs::Outputs;
use super::infer::table_of_file;
use super::output::{OutputFormat, StandardOutput, write_plan, write_rows};
use crate::catalog::{Connector, Defined, Explained, OnBadRow, PlainView, Statement, TableDef, ViewDef};
use crate::changelog::Changes;
use crate::clock::Clock;
use crate::config::{ByteSize, LogSettings};
use crate::epoch::{Driver, EpochLimits, Turn};
use crate::error::{Error, Location, Result};
use crate::logging;
use crate::pipeline::{
    Pipeline, PlanSettings, Planned, Tables, at_its_expression, plain_view_table, plain_views_of, plan_to_the_end,
    relations, run_batch,
};
use crate::registry::{read_text, resolve_path};
use crate::sink::file::FileWriter;
use crate::sink::postgres::PostgresSettings;
use crate::source::Offsets;
use crate::source::kafka::KafkaSettings;
use crate::source::reader::{OpenSpec, ReaderLimits, SourceDeps, spawn_reader};
use crate::sql::{Functions, parse_file, report};
use crate::state::{Account, Budget};
use crate::store::SpillDirectory;
use crate::tables::snapshot::Snapshots;
use crate::tables::source::SourceTable;
use crate::watermark::SourceWatermark;

/// Rows from which on an epoch runs on all cores.
pub(super) const WIDE_ROWS: usize = 32 * 1024;

/// Rows of one epoch, where nothing else is asked for: what one full reader batch holds. Of several the later ones would have left the
/// processor's cache, and nothing would be read meanwhile.
const EPOCH_ROWS_MAX: usize = 64 * 1024;

const AFTER_HELP: &str = "\
Ends with 0 when all statements have run, also where records were left out, or rows that an expression cannot take: how many of
how many, and why, is said on standard error. Ends with 64 at the first of these in a table whose 'on-bad-row' is 'fail', or with
--on-bad-row fail at any; files of INSERTs that have not all run are then left as they were.";

#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct RunArgs {
    /// Files with statements, run in the order given.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How the result of a SELECT is printed.
    #[arg(long, value_enum, default_value = "table")]
    output: OutputFormat,
    /// Records of one epoch: 1 runs row by row. The answer is the same; this is for trying that.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    epoch_rows: Option<u64>,
    /// Partitions of large epochs; 0 is one for each core.
    #[arg(long, default_value_t = 0)]
    partitions: usize,
    /// What becomes of records that do not fit their table, and of rows that an expression cannot take, instead of the tables'
    /// 'on-bad-row': left out and counted, or the first one ends the run
    #[arg(long, value_name = "WHAT", value_parser = on_bad_row())]
    on_bad_row: Option<OnBadRow>,
    /// Memory for open windows and waiting rows of one statement; what has no room goes to temporary files
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = ByteSize::parse)]
    state_bytes_max: ByteSize,
}

/// Whether whoever gets the rows of a statement takes them, by how they relate to those before them.
type Takes<'a> = &'a dyn Fn(&Changes) -> Result<()>;

/// Of rows that are printed, or kept as a view's for other statements.
fn result_takes(changes: &Changes) -> Result<()> {
    changes.append_only("the result of a statement")
}

/// As the table's option spells it.
fn on_bad_row() -> impl TypedValueParser<Value = OnBadRow> {
    let declared = || OnBadRow::DECLARED.into_iter();
    PossibleValuesParser::new(declared().map(|(name, _)| name)).try_map(move |given| {
        declared().find(|(name, _)| *name == given).map(|(_, on_bad_row)| on_bad_row).ok_or("it is neither")
    })
}

/// Runs all statements.
///
/// # Errors
/// The first one that stops a statement; mistakes in the text are all reported together before anything runs.
pub(super) async fn run(args: RunArgs) -> Result<()> {
    logging::start(&LogSettings { level: "warn".to_owned(), ..LogSettings::default() })?;
    let (statements, functions) = read_statements(&args.files)?;
    let partitions = match args.partitions {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given,
    };
    let settings = PlanSettings { partitions, wide_rows: WIDE_ROWS };
    let mut session = Session::new(functions, settings);
    session.on_bad_row = args.on_bad_row;
    session.state_bytes_max = usize::try_from(args.state_bytes_max.0).unwrap_or(usize::MAX);
    session.epoch_rows = args.epoch_rows.and_then(|rows| usize::try_from(rows).ok());
    session.run(statements, args.output, &mut StandardOutput::lock()).await
}

/// What is wrong with statements, as far as it shows before a row is read: as [`run`] would find it, but all of it.
pub(super) async fn mistakes(statements: Vec<Statement>, settings: PlanSettings) -> Vec<Error> {
    let (functions, mut errors) = compile(&statements);
    let mut session = Session::new(functions, settings);
    session.reads = false;
    session.outputs = Outputs::of(&statements);
    for statement in statements {
        let planned = match statement {
            Statement::CreateFunction(_) => Ok(()),
            Statement::CreateTable(table) => session.add_table(table),
            Statement::CreatePlainView(view) => session.add_plain_view(view).await,
            Statement::CreateView(view) => session.add_view(view).await,
            Statement::Insert { target, view } => session.check_insert(&target, &view).await,
            Statement::Select(view) => session.check_read(&view, &result_takes).await,
            Statement::Explain(explained) => session.explain(&explained).await.map(|_| ()),
        };
        errors.extend(planned.err());
    }
    errors
}

/// All functions of the statements, wherever they stand, and what is wrong with them.
fn compile(statements: &[Statement]) -> (Arc<Functions>, Vec<Error>) {
    let (functions, mistakes) = Functions::compile(statements.iter().filter_map(|statement| match statement {
        Statement::CreateFunction(function) => Some(function),
        _ => None,
    }));
    (Arc::new(functions), mistakes)
}

fn read_statements(files: &[PathBuf]) -> Result<(Vec<Statement>, Arc<Functions>)> {
    let (mut statements, mut errors) = (Vec::new(), Vec::new());
    for file in files {
        let text = match read_text(file) {
            Ok(text) => text,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        match parse_file(&file.display().to_string(), &text) {
            Ok(parsed) => statements.extend(parsed.into_iter().map(|statement| located(statement, file))),
            Err(mistakes) => errors.extend(mistakes),
        }
    }
    let (functions, mistakes) = compile(&statements);
    errors.extend(mistakes);
    match errors.len() {
        0 => Ok((statements, functions)),
        1 => Err(errors.remove(0)),
        n => Err(Error::invalid(format!("{n} errors\n{}", report(&errors)))),
    }
}

fn located(mut statement: Statement, file: &Path) -> Statement {
    if let Statement::CreateTable(table) = &mut statement {
        resolve_path(table, file);
    }
    statement
}

struct Session {
    defined: Defined,
    /// Those of `tables` that are files by their names.
    named_files: BTreeSet<String>,
    views: BTreeMap<String, Arc<ViewDef>>,
    /// Views that have been computed.
    results: BTreeMap<String, Arc<MemTable>>,
    functions: Arc<Functions>,
    sources: SourceDeps,
    outputs: Outputs,
    /// Of the statement that runs.
    losses: Arc<Losses>,
    /// Instead of what the tables say.
    on_bad_row: Option<OnBadRow>,
    epoch_rows: Option<usize>,
    state_bytes_max: usize,
    settings: PlanSettings,
    /// Else statements are planned only, over results without rows.
    reads: bool,
}

/// A view's result stands beside the tables as a static one.
struct Known<'a>(&'a Session);

impl Tables for Known<'_> {
    fn defined(&self) -> &Defined {
        &self.0.defined
    }

    fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
        let losses: Arc<Losses> = Arc::clone(&self.0.losses);
        let snapshots = Snapshots::with(self.0.sources.clone(), losses);
        Ok(Arc::new(SourceTable::new(Arc::clone(table), Arc::new(snapshots))))
    }

    fn results(&self) -> Vec<(String, Arc<dyn TableProvider>)> {
        self.0.results.iter().map(|(name, table)| (name.clone(), Arc::clone(table) as Arc<dyn TableProvider>)).collect()
    }

    fn functions(&self) -> Arc<Functions> {
        Arc::clone(&self.0.functions)
    }
}

impl Session {
    fn new(functions: Arc<Functions>, settings: PlanSettings) -> Self {
        Session {
            defined: Defined::default(),
            named_files: BTreeSet::new(),
            views: BTreeMap::new(),
            results: BTreeMap::new(),
            functions,
            sources: SourceDeps {
                kafka: KafkaSettings::default(),
                embedded: None,
                postgres: PostgresSettings::default(),
                clock: Clock::System,
            },
            outputs: Outputs::default(),
            losses: Arc::default(),
            on_bad_row: None,
            epoch_rows: None,
            state_bytes_max: usize::MAX,
            settings,
            reads: true,
        }
    }

    /// Runs the statements of a run in their order; `out` takes what a SELECT prints.
    async fn run(&mut self, statements: Vec<Statement>, format: OutputFormat, out: &mut dyn Write) -> Result<()> {
        self.outputs = Outputs::of(&statements);
        for statement in statements {
            self.losses = Arc::default();
            match statement {
                // All functions are known from the start.
                Statement::CreateFunction(_) => {}
                Statement::CreateTable(table) => self.add_table(table)?,
                Statement::CreatePlainView(view) => self.add_plain_view(view).await?,
                Statement::CreateView(view) => self.add_view(view).await?,
                Statement::Insert { target, view } => self.insert(&target, view).await?,
                Statement::Select(view) => {
                    let (schema, batches) = self.rows(&view).await?;
                    write_rows(out, format, schema, &batches)?;
                }
                Statement::Explain(explained) => write_plan(out, format, &self.explain(&explained).await?)?,
            }
            eprint!("{}", self.losses.summary());
        }
        Ok(())
    }

    fn add_table(&mut self, mut table: TableDef) -> Result<()> {
        table.on_bad_row = self.on_bad_row.unwrap_or(table.on_bad_row);
        if let Connector::Kafka(_) = table.connector {
            return Err(Error::invalid(format!("table \"{}\" is a Kafka topic, which has no end", table.name))
                .hint("`touchline run` reads files: use 'connector' = 'filesystem', or start a server")
                .at(table.location));
        }
        self.check_name(&table.name, &table.location)?;
        self.defined.tables.insert(table.name.clone(), Arc::new(table));
        Ok(())
    }

    /// Planned at once, so that its mistakes show.
    async fn add_plain_view(&mut self, view: PlainView) -> Result<()> {
        self.check_name(&view.name, &view.location)?;
        self.add_named_files(&view.query, &view.location)?;
        self.compute_views_of(&view.query).await?;
        plain_view_table(&view, &Known(self)).await?;
        self.defined.plain_views.insert(view.name.clone(), Arc::new(view));
        Ok(())
    }

    /// A view is planned at once, so that its mistakes show, and computed when something reads it.
    async fn add_view(&mut self, view: ViewDef) -> Result<()> {
        self.check_name(&view.name, &view.location)?;
        self.add_named_files(&view.query, &view.location)?;
        self.check(&view, &result_takes).await?;
        self.views.insert(view.name.clone(), Arc::new(view));
        Ok(())
    }

    /// How a query would run: as a stream, which is what a server would do, or over its whole input at once.
    async fn explain(&mut self, explained: &Explained) -> Result<Vec<String>> {
        let view = match explained {
            Explained::Query(view) => Arc::new(view.clone()),
            Explained::View { name, location } => self.views.get(name).cloned().ok_or_else(|| {
                let views: Vec<&str> = self.views.keys().map(String::as_str).collect();
                Error::invalid(format!("there is no materialized view \"{name}\" here"))
                    .hint(format!("it must stand before; there are {}", views.join(", ")))
                    .at(location.clone())
            })?,
        };
        self.add_named_files(&view.query, &view.location)?;
        // Views that it reads are planned for what their rows look like, and computed when they are read.
        let (reads, results) = (std::mem::take(&mut self.reads), self.results.clone());
        let planned = self.planned(&view).await;
        (self.reads, self.results) = (reads, results);
        Ok(match planned? {
            Planned::Stream(pipeline) => pipeline.explain(),
            Planned::Batch(context, plan) => {
                let optimized = context.state().optimize(&plan)?;
                let plan = optimized.display_indent().to_string();
                let first = "over the whole input at once, as no stream does it:".to_owned();
                std::iter::once(first).chain(plan.lines().map(|line| format!("  {line}"))).collect()
            }
        })
    }

    /// Makes tables of the files that a query at `place` reads by their names.
    fn add_named_files(&mut self, query: &Query, place: &Location) -> Result<()> {
        for name in named_files(query) {
            if self.defined.plain_views.contains_key(&name) || self.views.contains_key(&name) {
                continue;
            }
            let path = beside(&name, place);
            match self.defined.tables.get(&name).map(|table| &table.connector) {
                Some(Connector::Filesystem(known)) if known.path == path.to_string_lossy() => continue,
                Some(_) if self.named_files.contains(&name) => {
                    return Err(Error::invalid(format!("'{name}' is another file here than before"))
                        .hint("relative paths count from the statement's file: write the absolute path")
                        .at(place.clone()));
                }
                Some(_) => continue,
                None => {}
            }
            if !path.exists() {
                return Err(Error::invalid(format!("no such file or folder: {}", path.display()))
                    .hint("correct the path; relative ones count from the statement's file")
                    .at(place.clone()));
            }
            let mut table = table_of_file(&path).map_err(|error| error.at(place.clone()))?;
            (table.name, table.location) = (name.clone(), place.clone());
            self.add_table(table)?;
            self.named_files.insert(name);
        }
        Ok(())
    }

    /// Plans a query and what it reads.
    async fn check(&mut self, view: &ViewDef, takes: Takes<'_>) -> Result<()> {
        let planned = self.planned(view).await?;
        takes(&planned.changes()).map_err(|error| error.at(view.location.clone()))
    }

    async fn planned(&mut self, view: &ViewDef) -> Result<Planned> {
        self.compute_views_of(&view.query).await?;
        plan_to_the_end(view, &Known(self), self.settings).await
    }

    fn check_name(&self, name: &str, location: &Location) -> Result<()> {
        let first = self
            .defined
            .tables
            .get(name)
            .map(|table| &table.location)
            .or_else(|| self.defined.plain_views.get(name).map(|view| &view.location))
            .or_else(|| self.views.get(name).map(|view| &view.location));
        match first {
            None => Ok(()),
            Some(first) => Err(Error::invalid(format!("\"{name}\" is defined twice"))
                .detail(format!("the first definition is at {first}"))
                .hint("rename or delete one of them")
                .at(location.clone())),
        }
    }

    /// The table that an INSERT at `place` writes.
    fn target(&self, name: &str, place: &Location) -> Result<Arc<TableDef>> {
        self.defined.tables.get(name).cloned().ok_or_else(|| {
            Error::invalid(format!("table \"{name}\" does not exist"))
                .hint("declare it with CREATE TABLE … WITH ('connector' = 'filesystem', 'path' = …)")
                .at(place.clone())
        })
    }

    async fn insert(&mut self, target: &str, view: ViewDef) -> Result<()> {
        let table = self.target(target, &view.location)?;
        let mut output = self.outputs.take(&table, &view.location)?;
        let takes = |changes: &Changes| FileWriter::check_changes(&table, changes);
        let written = self.execute(&view, &takes, &mut |batch| output.write(&batch)).await;
        written.map_err(|error| error.at(view.location.clone()))?;
        self.outputs.put_back(output)
    }

    /// Plans an INSERT and what it reads.
    async fn check_insert(&mut self, target: &str, view: &ViewDef) -> Result<()> {
        let table = self.target(target, &view.location)?;
        let output = self.outputs.take(&table, &view.location)?;
        let checked = self.check_read(view, &|changes: &Changes| FileWriter::check_changes(&table, changes)).await;
        self.outputs.pass(&output);
        checked
    }

    /// Plans a query that is to be run, and what it reads.
    async fn check_read(&mut self, view: &ViewDef, takes: Takes<'_>) -> Result<()> {
        self.add_named_files(&view.query, &view.location)?;
        self.refuse_unfinished(view)?;
        self.check(view, takes).await
    }

    /// All rows of a query.
    async fn rows(&mut self, view: &ViewDef) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let mut batches: Vec<RecordBatch> = Vec::new();
        let mut collect = |batch| {
            batches.push(batch);
            Ok(())
        };
        self.execute(view, &result_takes, &mut collect).await.map_err(|error| error.at(view.location.clone()))?;
        match batches.first() {
            Some(batch) => Ok((batch.schema(), batches)),
            None => Ok((self.schema(view).await?, batches)),
        }
    }

    /// A file in the middle of its INSERTs has rows that are not there to be read.
    fn refuse_unfinished(&self, view: &ViewDef) -> Result<()> {
        let read = self.read_by(&view.query)?;
        let tables = read.iter().filter_map(|name| self.defined.tables.get(name));
        self.outputs.refuse_unfinished(tables).map_err(|error| error.at(view.location.clone()))
    }

    /// The names that a query reads, also through views.
    fn read_by(&self, query: &Query) -> Result<BTreeSet<String>> {
        let (mut read, mut left) = (BTreeSet::new(), vec![Box::new(query.clone())]);
        while let Some(query) = left.pop() {
            let mut named = relations(&query);
            plain_views_of(&query, &Known(self))?.iter().for_each(|view| named.extend(relations(&view.query)));
            for name in named {
                let view = self.views.get(&name).filter(|_| !self.results.contains_key(&name));
                if read.insert(name) {
                    left.extend(view.map(|view| view.query.clone()));
                }
            }
        }
        Ok(read)
    }

    /// Runs a query to the end of its input. `takes`: of the `sink`, asked before it gets a row.
    async fn execute(
        &mut self,
        view: &ViewDef,
        takes: Takes<'_>,
        sink: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        self.add_named_files(&view.query, &view.location)?;
        self.refuse_unfinished(view)?;
        let planned = self.planned(view).await?;
        takes(&planned.changes())?;
        match planned {
            Planned::Stream(pipeline) => {
                let streamed = self.stream(*pipeline, sink).await;
                streamed.map_err(|error| at_its_expression(error, view, &Known(self)))
            }
            Planned::Batch(context, plan) => {
                let (on_bad_row, account) = (self.on_bad_row_of(&view.query)?, self.account());
                let output = run_batch(view, &context, &plan, &Known(self), on_bad_row, &account).await?;
                self.losses.bad(&output.bad, &[]);
                output.rows.batches().try_for_each(|batch| sink(batch?))
            }
        }
    }

    /// What becomes of rows that are of no table alone: one table that says so is enough to fail at them. Where none is read, there are no
    /// others to go on with.
    fn on_bad_row_of(&self, query: &Query) -> Result<OnBadRow> {
        let read = self.read_by(query)?;
        let mut tables = read.iter().filter_map(|name| self.defined.tables.get(name));
        let fails = read.is_empty() || tables.any(|table| table.on_bad_row == OnBadRow::Fail);
        Ok(self.on_bad_row.unwrap_or(if fails { OnBadRow::Fail } else { OnBadRow::DeadLetter }))
    }

    /// For what a statement holds: in memory as far as it may, else in temporary files.
    fn account(&self) -> Arc<Account> {
        let disk = Arc::new(SpillDirectory::temporary(u64::MAX));
        Budget::new(self.state_bytes_max, Some(disk)).account("the statement")
    }

    /// What a query's rows look like, where there are none.
    async fn schema(&self, view: &ViewDef) -> Result<SchemaRef> {
        Ok(plan_to_the_end(view, &Known(self), self.settings).await?.schema())
    }

    async fn stream(&self, mut pipeline: Pipeline, sink: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        let (memory, account) = (self.state_bytes_max, self.account());
        pipeline.charge_to(Arc::clone(&account))?;
        // What has an end is final at its end, and nobody looks before.
        pipeline.only_final();
        let (mut readers, mut watermarks, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
        for slot in &pipeline.slots {
            let account = Some(Arc::clone(&account));
            let open = OpenSpec { epoch_rows: self.epoch_rows, account, ..OpenSpec::default() };
            let (table, columns) = (Arc::clone(&slot.table), slot.columns().to_vec());
            let name = slot.table.name.clone();
            let limits = ReaderLimits { decoders: self.settings.partitions, ..ReaderLimits::within(memory) };
            readers.push(spawn_reader(&name, table, columns, open, limits, self.sources.clone())?);
            // Files are read one after the other: none of them is idle, it is just not its turn.
            let definition = slot.table.watermark.clone().map(|mut watermark| {
                watermark.idle_timeout = None;
                watermark
            });
            watermarks.push(SourceWatermark::new(definition.as_ref()).into());
            offsets.push(Offsets::new());
        }
        let tables: Vec<Arc<TableDef>> = pipeline.slots.iter().map(|slot| Arc::clone(&slot.table)).collect();
        let limits = EpochLimits::within(memory, EPOCH_ROWS_MAX, self.epoch_rows.is_some());
        let clock = self.sources.clock.clone();
        let mut driver = Driver::new(Arc::new(pipeline), readers, watermarks, offsets, clock, limits);
        loop {
            match driver.turn(Duration::from_secs(1)).await? {
                Turn::Epoch(result) => {
                    self.losses.late(result.output.late.len());
                    self.losses.bad(&result.dead_letters, &tables);
                    result.output.rows.batches().try_for_each(|batch| sink(batch?))?;
                }
                Turn::Quiet => {}
                Turn::Finished => break,
            }
        }
        for (table, offsets) in tables.iter().zip(&driver.offsets) {
            self.losses.read(table, records(offsets.values()));
        }
        Ok(())
    }

    /// Computes the views that a query names and that have not been computed yet.
    async fn compute_views_of(&mut self, query: &Query) -> Result<()> {
        let mut named = relations(query);
        plain_views_of(query, &Known(self))?.iter().for_each(|view| named.extend(relations(&view.query)));
        let views: Vec<Arc<ViewDef>> = self
            .views
            .values()
            .filter(|view| named.contains(&view.name) && !self.results.contains_key(&view.name))
            .cloned()
            .collect();
        for view in views {
            let (schema, batches) = match self.reads {
                true => Box::pin(self.rows(&view)).await?,
                false => (self.schema(&view).await?, Vec::new()),
            };
            self.results.insert(view.name.clone(), Arc::new(MemTable::try_new(schema, vec![batches])?));
        }
        Ok(())
    }
}
