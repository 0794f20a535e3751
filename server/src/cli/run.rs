//! `touchline run`: statements over bounded files, to their end.
//!
//! The plans, operators and epochs are those of the server; only durability is left out. A view is computed when a later
//! statement reads it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use clap::Args;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::execute_stream;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{self, Query};
use futures::TryStreamExt;

use super::bad_record::place;
use super::output::{OutputFormat, StandardOutput, write_rows};
use crate::catalog::{Connector, PlainView, Statement, TableDef, ViewDef};
use crate::clock::Clock;
use crate::config::LogSettings;
use crate::epoch::{Driver, EpochLimits, Turn};
use crate::error::{Error, Location, Result};
use crate::logging;
use crate::pipeline::{
    Pipeline, PlanSettings, Planned, Tables, at_its_expression, plain_view_table, plain_views_of, plan_to_the_end,
    relations,
};
use crate::registry::{read_text, resolve_path};
use crate::sink::file::FileWriter;
use crate::source::Offsets;
use crate::source::kafka::KafkaSettings;
use crate::source::reader::{OpenSpec, ReaderLimits, SourceDeps, spawn_reader};
use crate::sql::{Functions, explained, parse_file, report};
use crate::tables::snapshot::Snapshots;
use crate::tables::source::SourceTable;
use crate::watermark::SourceWatermark;

/// Rows from which on an epoch runs on all cores.
pub(super) const WIDE_ROWS: usize = 32 * 1024;

/// Rows of one epoch, where nothing else is asked for: what four full reader batches hold.
const EPOCH_ROWS_MAX: usize = 256 * 1024;

#[derive(Debug, Clone, Args)]
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
    session.epoch_rows = args.epoch_rows.and_then(|rows| usize::try_from(rows).ok());
    for statement in statements {
        match statement {
            // All functions are known from the start.
            Statement::CreateFunction(_) => {}
            Statement::CreateTable(table) => session.add_table(table)?,
            Statement::CreatePlainView(view) => session.add_plain_view(view).await?,
            Statement::CreateView(view) => session.add_view(view).await?,
            Statement::Insert { target, view } => session.insert(&target, view).await?,
            Statement::Select(view) => {
                let (mut schema, mut batches) = (None, Vec::new());
                let mut collect = |batch: RecordBatch| {
                    schema.get_or_insert_with(|| batch.schema());
                    batches.push(batch);
                    Ok(())
                };
                session.execute(&view, &mut collect).await.map_err(|error| error.at(view.location.clone()))?;
                let schema = match schema {
                    Some(schema) => schema,
                    None => session.schema(&view).await?,
                };
                write_rows(&mut StandardOutput::lock(), args.output, schema, &batches)?;
            }
        }
    }
    Ok(())
}

/// What is wrong with statements, as far as it shows before a row is read: as [`run`] would find it, but all of it.
pub(super) async fn mistakes(statements: Vec<Statement>, settings: PlanSettings) -> Vec<Error> {
    let (functions, mut errors) = compile(&statements);
    let mut session = Session::new(functions, settings);
    session.reads = false;
    for statement in statements {
        let planned = match statement {
            Statement::CreateFunction(_) => Ok(()),
            Statement::CreateTable(table) => session.add_table(table),
            Statement::CreatePlainView(view) => session.add_plain_view(view).await,
            Statement::CreateView(view) => session.add_view(view).await,
            Statement::Insert { target, view } => match session.target(&target, &view.location) {
                Ok(_) => session.check(&view).await,
                Err(error) => Err(error),
            },
            Statement::Select(view) => session.check(&view).await,
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
    tables: BTreeMap<String, Arc<TableDef>>,
    plain_views: BTreeMap<String, Arc<PlainView>>,
    views: BTreeMap<String, Arc<ViewDef>>,
    /// Views that have been computed.
    results: BTreeMap<String, Arc<MemTable>>,
    functions: Arc<Functions>,
    sources: SourceDeps,
    epoch_rows: Option<usize>,
    settings: PlanSettings,
    /// Else statements are planned only, over results without rows.
    reads: bool,
}

/// A view's result stands beside the tables as a static one.
struct Known<'a>(&'a Session);

impl Tables for Known<'_> {
    fn definition(&self, name: &str) -> Option<Arc<TableDef>> {
        self.0.tables.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.0.tables.keys().cloned().collect()
    }

    fn plain_view(&self, name: &str) -> Option<Arc<PlainView>> {
        self.0.plain_views.get(name).cloned()
    }

    fn plain_view_names(&self) -> Vec<String> {
        self.0.plain_views.keys().cloned().collect()
    }

    fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(SourceTable::new(Arc::clone(table), Arc::new(Snapshots::new(self.0.sources.clone())))))
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
            tables: BTreeMap::new(),
            plain_views: BTreeMap::new(),
            views: BTreeMap::new(),
            results: BTreeMap::new(),
            functions,
            sources: SourceDeps { kafka: KafkaSettings::default(), embedded: None, clock: Clock::System },
            epoch_rows: None,
            settings,
            reads: true,
        }
    }

    fn add_table(&mut self, table: TableDef) -> Result<()> {
        if let Connector::Kafka(_) = table.connector {
            return Err(Error::invalid(format!("table \"{}\" is a Kafka topic, which has no end", table.name))
                .hint("`touchline run` reads files: use 'connector' = 'filesystem', or start a server")
                .at(table.location));
        }
        self.check_name(&table.name, &table.location)?;
        self.tables.insert(table.name.clone(), Arc::new(table));
        Ok(())
    }

    /// Planned at once, so that its mistakes show.
    async fn add_plain_view(&mut self, view: PlainView) -> Result<()> {
        self.check_name(&view.name, &view.location)?;
        self.compute_views_of(&view.query).await?;
        plain_view_table(&view, &Known(self)).await?;
        self.plain_views.insert(view.name.clone(), Arc::new(view));
        Ok(())
    }

    /// A view is planned at once, so that its mistakes show, and computed when something reads it.
    async fn add_view(&mut self, view: ViewDef) -> Result<()> {
        self.check_name(&view.name, &view.location)?;
        self.check(&view).await?;
        self.views.insert(view.name.clone(), Arc::new(view));
        Ok(())
    }

    /// Plans a query and what it reads.
    async fn check(&mut self, view: &ViewDef) -> Result<()> {
        self.compute_views_of(&view.query).await?;
        plan_to_the_end(view, &Known(self), self.settings).await.map(|_| ())
    }

    fn check_name(&self, name: &str, location: &Location) -> Result<()> {
        let first = self
            .tables
            .get(name)
            .map(|table| &table.location)
            .or_else(|| self.plain_views.get(name).map(|view| &view.location))
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
        self.tables.get(name).cloned().ok_or_else(|| {
            Error::invalid(format!("table \"{name}\" does not exist"))
                .hint("declare it with CREATE TABLE … WITH ('connector' = 'filesystem', 'path' = …)")
                .at(place.clone())
        })
    }

    async fn insert(&mut self, target: &str, view: ViewDef) -> Result<()> {
        let table = self.target(target, &view.location)?;
        let mut writer = None;
        let written = self
            .execute(&view, &mut |batch: RecordBatch| {
                let writer = match &mut writer {
                    Some(writer) => writer,
                    none => none.insert(FileWriter::create(&table)?),
                };
                writer.write(&batch)
            })
            .await;
        written.map_err(|error| error.at(view.location.clone()))?;
        match writer {
            Some(writer) => writer.finish(),
            // No row is a result too: the file says so.
            None => FileWriter::create(&table)?.finish(),
        }
    }

    /// Runs a query to the end of its input.
    async fn execute(&mut self, view: &ViewDef, sink: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        self.compute_views_of(&view.query).await?;
        match plan_to_the_end(view, &Known(self), self.settings).await? {
            Planned::Stream(pipeline) => {
                let streamed = self.stream(*pipeline, sink).await;
                streamed.map_err(|error| at_its_expression(error, view, &Known(self)))
            }
            Planned::Batch(context, logical) => {
                let state = context.state();
                let outcome = async {
                    let physical = state.create_physical_plan(&logical).await?;
                    let mut batches = execute_stream(physical, context.task_ctx())?;
                    while let Some(batch) = batches.try_next().await? {
                        sink(batch)?;
                    }
                    Ok::<_, DataFusionError>(())
                };
                match outcome.await {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        let statement = DfStatement::Statement(Box::new(ast::Statement::Query(view.query.clone())));
                        let error = explained(error, &statement, &state, &view.location).await;
                        Err(at_its_expression(error, view, &Known(self)))
                    }
                }
            }
        }
    }

    /// What a query's rows look like, where there are none.
    async fn schema(&self, view: &ViewDef) -> Result<SchemaRef> {
        Ok(plan_to_the_end(view, &Known(self), self.settings).await?.schema())
    }

    async fn stream(&self, pipeline: Pipeline, sink: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        let (mut readers, mut watermarks, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
        for slot in &pipeline.slots {
            let open = OpenSpec { epoch_rows: self.epoch_rows, ..OpenSpec::default() };
            let (table, columns) = (Arc::clone(&slot.table), slot.columns().to_vec());
            let name = slot.table.name.clone();
            readers.push(spawn_reader(&name, table, columns, open, ReaderLimits::default(), self.sources.clone())?);
            // Files are read one after the other: none of them is idle, it is just not its turn.
            let definition = slot.table.watermark.clone().map(|mut watermark| {
                watermark.idle_timeout = None;
                watermark
            });
            watermarks.push(SourceWatermark::new(definition.as_ref()));
            offsets.push(Offsets::new());
        }
        let tables: Vec<Arc<TableDef>> = pipeline.slots.iter().map(|slot| Arc::clone(&slot.table)).collect();
        let limits = EpochLimits { rows_max: EPOCH_ROWS_MAX, one_batch: self.epoch_rows.is_some() };
        let clock = self.sources.clock.clone();
        let mut driver = Driver::new(Arc::new(pipeline), readers, watermarks, offsets, clock, limits);
        let (mut late, mut dead) = (0, 0);
        loop {
            match driver.turn(Duration::from_secs(1)).await? {
                Turn::Epoch(result) => {
                    late += result.output.late.len();
                    for letter in &result.dead_letters {
                        if dead < DEAD_LETTERS_SHOWN {
                            eprintln!("{}: {}", place(letter, &tables), letter.reason);
                        }
                        dead += 1;
                    }
                    result.output.batches.into_iter().filter(|batch| batch.num_rows() > 0).try_for_each(&mut *sink)?;
                }
                Turn::Quiet => {}
                Turn::Finished => break,
            }
        }
        if late + dead > 0 {
            eprintln!("{late} late rows dropped, {dead} records not decoded");
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
            let mut batches: Vec<RecordBatch> = Vec::new();
            let mut schema = None;
            if self.reads {
                Box::pin(self.execute(&view, &mut |batch| {
                    schema.get_or_insert_with(|| batch.schema());
                    batches.push(batch);
                    Ok(())
                }))
                .await
                .map_err(|error| error.at(view.location.clone()))?;
            }
            let schema = match schema {
                Some(schema) => schema,
                None => self.schema(&view).await?,
            };
            self.results.insert(view.name.clone(), Arc::new(MemTable::try_new(schema, vec![batches])?));
        }
        Ok(())
    }
}

/// Undecodable records that are named on standard error; the rest is counted.
const DEAD_LETTERS_SHOWN: usize = 10;
