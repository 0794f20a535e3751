//! `touchline check`: reads every file, plans every query, and reports all mistakes at once. Connects to nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;

use super::fail_all;
use super::output::StandardOutput;
use crate::catalog::{Connector, PlainView, Statement, TableDef};
use crate::clock::Clock;
use crate::error::{Error, Location, Result};
use crate::pipeline::{PlanSettings, Planned, Tables, plain_view_table};
use crate::registry::{Catalog, not_for_a_server, read_text, reads_no_stream, resolve_path};
use crate::sink::parquet::public_schema;
use crate::source::kafka::KafkaSettings;
use crate::source::reader::SourceDeps;
use crate::sql::{Functions, parse_statements};
use crate::tables::snapshot::Snapshots;

#[derive(Debug, Args)]
#[command(after_help = "Ends with 0 when everything is right, with 64 when something is wrong.")]
pub(super) struct CheckArgs {
    /// Folders that hold schemas/ and queries/, or single files, which see each other's tables
    #[arg(value_name = "DIR", default_value = ".")]
    paths: Vec<PathBuf>,
}

/// A file and what stands in it.
#[derive(Debug)]
struct CheckedFile {
    name: String,
    /// From `schemas/` or `queries/`, where a server reads it; else it may be a script for `touchline run`.
    served: bool,
    statements: Vec<Statement>,
    mistakes: usize,
}

pub(super) async fn run(args: &CheckArgs) -> Result<ExitCode> {
    let files = sql_files(&args.paths)?;
    let mut errors = Vec::new();
    let mut checked: Vec<CheckedFile> = files
        .iter()
        .map(|(path, served)| {
            let name = path.strip_prefix("./").unwrap_or(path).display().to_string();
            let (statements, mistakes) = read(path, &name);
            errors.extend(mistakes);
            CheckedFile { name, served: *served, statements, mistakes: 0 }
        })
        .collect();
    errors.extend(defined_twice(&checked));
    errors.extend(missing_files(&checked));
    errors.extend(plan(&checked).await);
    let mut out = StandardOutput::lock();
    for file in &mut checked {
        file.mistakes = errors.iter().filter(|error| error.location().is_some_and(|at| at.file == file.name)).count();
        writeln!(out, "{}", summary(file))?;
    }
    Ok(fail_all(errors))
}

/// The `*.sql` files of the given folders, schemas before queries, each kind in name order, and whether a server reads them.
fn sql_files(paths: &[PathBuf]) -> Result<Vec<(PathBuf, bool)>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_file() {
            files.push((path.clone(), false));
            continue;
        }
        let folders = [path.join("schemas"), path.join("queries")];
        let inside: Vec<&Path> = folders.iter().map(PathBuf::as_path).filter(|folder| folder.is_dir()).collect();
        let (before, served) = (files.len(), !inside.is_empty());
        for folder in if inside.is_empty() { vec![path.as_path()] } else { inside } {
            let entries = std::fs::read_dir(folder).map_err(|error| {
                Error::invalid(format!("cannot read folder {}", folder.display())).detail(error.to_string())
            })?;
            let mut found: Vec<PathBuf> = entries
                .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                .filter(|file| file.is_file() && file.extension().is_some_and(|extension| extension == "sql"))
                .collect();
            found.sort();
            files.extend(found.into_iter().map(|file| (file, served)));
        }
        if files.len() == before {
            return Err(Error::invalid(format!("there is no .sql file in {}", path.display()))
                .hint("name a folder that holds schemas/ and queries/, or files"));
        }
    }
    Ok(files)
}

fn read(path: &Path, name: &str) -> (Vec<Statement>, Vec<Error>) {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) => {
            return (Vec::new(), vec![error.at(Location { file: name.to_owned(), line: 0, column: 0 })]);
        }
    };
    let (mut statements, errors) = parse_statements(name, &text);
    for statement in &mut statements {
        if let Statement::CreateTable(table) = statement {
            resolve_path(table, path);
        }
    }
    (statements, errors)
}

/// What is read from files must be there; what is only written need not.
fn missing_files(files: &[CheckedFile]) -> Vec<Error> {
    let statements = || files.iter().flat_map(|file| &file.statements);
    let written =
        |name: &str| statements().any(|other| matches!(other, Statement::Insert { target, .. } if target == name));
    statements()
        .filter_map(|statement| {
            let Statement::CreateTable(table) = statement else { return None };
            let Connector::Filesystem(files) = &table.connector else { return None };
            if written(&table.name) || Path::new(&files.path).exists() {
                return None;
            }
            let error = Error::invalid(format!("table \"{}\" reads {}, which does not exist", table.name, files.path));
            Some(error.hint("correct 'path' in its WITH (…)").at(table.location.clone()))
        })
        .collect()
}

/// The declared tables, and the views before a statement of a script, which may read them.
struct Known {
    catalog: Catalog,
    results: BTreeMap<String, Arc<MemTable>>,
}

impl Tables for Known {
    fn definition(&self, name: &str) -> Option<Arc<TableDef>> {
        self.catalog.definition(name)
    }

    fn names(&self) -> Vec<String> {
        self.catalog.names()
    }

    fn plain_view(&self, name: &str) -> Option<Arc<PlainView>> {
        self.catalog.plain_view(name)
    }

    fn plain_view_names(&self) -> Vec<String> {
        self.catalog.plain_view_names()
    }

    fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
        self.catalog.provider(table)
    }

    fn results(&self) -> Vec<(String, Arc<dyn TableProvider>)> {
        self.results.iter().map(|(name, table)| (name.clone(), Arc::clone(table) as Arc<dyn TableProvider>)).collect()
    }

    fn functions(&self) -> Arc<Functions> {
        self.catalog.functions()
    }
}

/// Plans every query over the declared tables, as the server does when it registers them; all mistakes, with their places.
async fn plan(files: &[CheckedFile]) -> Vec<Error> {
    let mut catalog = Catalog::new(Arc::new(Snapshots::new(SourceDeps {
        kafka: KafkaSettings::default(),
        embedded: None,
        clock: Clock::System,
    })));
    for statement in files.iter().flat_map(|file| &file.statements) {
        match statement {
            Statement::CreateTable(table) => drop(catalog.tables.insert(table.name.clone(), Arc::new(table.clone()))),
            Statement::CreatePlainView(view) => {
                drop(catalog.plain_views.insert(view.name.clone(), Arc::new(view.clone())));
            }
            Statement::CreateFunction(_)
            | Statement::CreateView(_)
            | Statement::Insert { .. }
            | Statement::Select(_) => {}
        }
    }
    let functions = files.iter().flat_map(|file| &file.statements).filter_map(|statement| match statement {
        Statement::CreateFunction(function) => Some(function),
        _ => None,
    });
    let (functions, mut errors) = Functions::compile(functions);
    catalog.functions = Arc::new(functions);
    let mut known = Known { catalog, results: BTreeMap::new() };
    let statements = files.iter().flat_map(|file| file.statements.iter().map(|statement| (file.served, statement)));
    for (served, statement) in statements {
        let (view, is_view) = match statement {
            Statement::CreateTable(_) | Statement::CreateFunction(_) => continue,
            Statement::CreatePlainView(view) => {
                errors.extend(plain_view_table(view, &known).await.err());
                continue;
            }
            Statement::CreateView(view) => (view, true),
            Statement::Insert { view, .. } | Statement::Select(view) => (view, false),
        };
        if served && !is_view {
            errors.push(not_for_a_server(view));
            continue;
        }
        let settings = PlanSettings { partitions: 1, wide_rows: usize::MAX };
        let schema = match crate::pipeline::plan(view, &known, settings).await {
            Ok(Planned::Stream(pipeline)) => {
                let storable = public_schema(&pipeline.schema);
                errors.extend(storable.err().map(|error| error.at(view.location.clone())));
                Arc::clone(&pipeline.schema)
            }
            Ok(Planned::Batch(..)) if served => {
                errors.push(reads_no_stream(view));
                continue;
            }
            Ok(Planned::Batch(_, plan)) => Arc::clone(plan.schema().inner()),
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        if is_view
            && !served
            && let Ok(result) = MemTable::try_new(schema, vec![vec![]])
        {
            known.results.insert(view.name.clone(), Arc::new(result));
        }
    }
    errors
}

/// A table or view may be defined once, in whichever file.
fn defined_twice(files: &[CheckedFile]) -> Vec<Error> {
    let mut first: BTreeMap<&str, &Location> = BTreeMap::new();
    let mut errors = Vec::new();
    for statement in files.iter().flat_map(|file| &file.statements) {
        let (name, location) = match statement {
            Statement::CreateTable(table) => (&table.name, &table.location),
            Statement::CreatePlainView(view) => (&view.name, &view.location),
            Statement::CreateView(view) => (&view.name, &view.location),
            Statement::CreateFunction(_) | Statement::Insert { .. } | Statement::Select(_) => continue,
        };
        match first.get(name.as_str()) {
            None => _ = first.insert(name, location),
            // Within one file the parser has said so.
            Some(other) if other.file == location.file => {}
            Some(other) => errors.push(
                Error::invalid(format!("{name} is defined twice"))
                    .detail(format!("the other definition is at {other}"))
                    .hint("rename one of them, or delete it")
                    .at(location.clone()),
            ),
        }
    }
    errors
}

/// `queries/momentum.sql: 1 view`.
fn summary(file: &CheckedFile) -> String {
    let mut counts = [("table", 0), ("view", 0), ("function", 0), ("insert", 0), ("select", 0)];
    for statement in &file.statements {
        let kind = match statement {
            Statement::CreateTable(_) => 0,
            Statement::CreateView(_) | Statement::CreatePlainView(_) => 1,
            Statement::CreateFunction(_) => 2,
            Statement::Insert { .. } => 3,
            Statement::Select(_) => 4,
        };
        counts[kind].1 += 1;
    }
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let mut parts: Vec<String> =
        counts.iter().filter(|(_, count)| *count > 0).map(|(word, count)| plural(*count, word)).collect();
    if file.mistakes > 0 {
        parts.push(plural(file.mistakes, "mistake"));
    }
    format!("{}: {}", file.name, if parts.is_empty() { "no statement".to_owned() } else { parts.join(", ") })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::catalog::{CSV_DELIMITER_DEFAULT, Connector, FilesystemPath, Format, OnBadRow, TableDef, WatermarkDef};

    fn file(name: &str, table: &str, line: u64) -> CheckedFile {
        let table = TableDef {
            name: table.to_owned(),
            columns: Vec::new(),
            watermark: Some(WatermarkDef {
                column: "ts".to_owned(),
                delay: Duration::ZERO,
                idle_timeout: None,
                max_future: Duration::ZERO,
            }),
            primary_key: Vec::new(),
            connector: Connector::Filesystem(FilesystemPath { path: "x".to_owned() }),
            format: Format::Json,
            csv_delimiter: CSV_DELIMITER_DEFAULT,
            on_bad_row: OnBadRow::Fail,
            text: String::new(),
            location: Location { file: name.to_owned(), line, column: 1 },
        };
        CheckedFile {
            name: name.to_owned(),
            served: false,
            statements: vec![Statement::CreateTable(table)],
            mistakes: 0,
        }
    }

    #[test]
    fn a_name_that_is_defined_twice_is_reported_at_the_second_place_with_the_first() {
        let errors = defined_twice(&[file("a.sql", "t", 2), file("b.sql", "u", 1), file("c.sql", "t", 7)]);
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0]
                .report()
                .starts_with("c.sql:7:1: t is defined twice\n  detail: the other definition is at a.sql:2:1")
        );
    }

    #[test]
    fn a_summary_counts_what_stands_in_a_file() {
        let mut checked = file("a.sql", "t", 1);
        assert_eq!(summary(&checked), "a.sql: 1 table");
        checked.mistakes = 2;
        assert_eq!(summary(&checked), "a.sql: 1 table, 2 mistakes");
        checked.statements.clear();
        checked.mistakes = 0;
        assert_eq!(summary(&checked), "a.sql: no statement");
    }

    #[test]
    fn schemas_come_before_queries_and_other_files_do_not_count() {
        let folder = tempfile::tempdir().expect("a folder");
        for sub in ["schemas", "queries"] {
            std::fs::create_dir(folder.path().join(sub)).expect("made");
        }
        for name in ["queries/b.sql", "queries/a.sql", "schemas/z.sql", "schemas/README.md"] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        let found = sql_files(&[folder.path().to_path_buf()]).expect("three files");
        let names: Vec<_> = found
            .iter()
            .map(|(path, _)| path.strip_prefix(folder.path()).expect("inside").display().to_string())
            .collect();
        assert_eq!(names, ["schemas/z.sql", "queries/a.sql", "queries/b.sql"]);
        assert!(sql_files(&[folder.path().join("nowhere")]).is_err());
        let empty = tempfile::tempdir().expect("a folder");
        assert!(sql_files(&[empty.path().to_path_buf()]).is_err());
    }
}
