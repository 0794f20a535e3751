//! `touchline check`: reads every file, plans every query, and reports all mistakes at once. Connects to nothing.
//!
//! It judges by what a server itself judges by, so that the two cannot differ; with `--run`, by what `touchline run` does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::fail_all;
use super::output::StandardOutput;
use super::run;
use crate::catalog::{Connector, Statement};
use crate::clock::Clock;
use crate::error::{Error, Location, Result};
use crate::pipeline::PlanSettings;
use crate::registry::{Catalog, catalog_of, planned, read_text, refusals, resolve_path, sql_files};
use crate::sink::postgres::PostgresSettings;
use crate::source::kafka::KafkaSettings;
use crate::source::reader::SourceDeps;
use crate::sql::parse_statements;
use crate::tables::snapshot::Snapshots;
use crate::tables::source::SnapshotReader;

#[derive(Debug, Args)]
#[command(after_help = "Ends with 0 when everything is right, with 64 when something is wrong.")]
pub(super) struct CheckArgs {
    /// Folders that hold schemas/ and queries/, or single files, which see each other's tables
    #[arg(value_name = "DIR", default_value = ".")]
    paths: Vec<PathBuf>,
    /// Judge as `touchline run` does, which takes the files in their order and their input as ended; else as a server does
    #[arg(long)]
    run: bool,
    /// Print the stream plan of each continuous query, too: what it keeps, what bounds that, what it emits, and its watermarks
    #[arg(long, conflicts_with = "run")]
    explain: bool,
}

/// A file and what stands in it.
#[derive(Debug)]
pub(super) struct CheckedFile {
    name: String,
    statements: Vec<Statement>,
    mistakes: usize,
}

pub(super) async fn run(args: &CheckArgs) -> Result<ExitCode> {
    let (mut checked, mut errors) = read_all(&args.paths)?;
    errors.extend(missing_files(&checked));
    let judged = if args.run { refused_by_run(&checked).await } else { refused_by_a_server(&checked).await };
    for error in judged {
        // What the parser has said of a statement is not said again.
        let known = |other: &Error| other.location() == error.location() && other.primary() == error.primary();
        if !errors.iter().any(known) {
            errors.push(error);
        }
    }
    let mut out = StandardOutput::lock();
    for file in &mut checked {
        file.mistakes = errors.iter().filter(|error| error.location().is_some_and(|at| at.file == file.name)).count();
        writeln!(out, "{}", summary(file))?;
    }
    if args.explain {
        for (view, lines) in explained(&checked).await {
            writeln!(out, "\n{view}\n  {}", lines.join("\n  "))?;
        }
    }
    Ok(fail_all(errors))
}

/// The files of the given folders, each with the statements in it that can be read, and what is wrong with the others.
///
/// # Errors
/// `Invalid` where a folder or a file is not there.
pub(super) fn read_all(paths: &[PathBuf]) -> Result<(Vec<CheckedFile>, Vec<Error>)> {
    let mut errors = Vec::new();
    let checked = files(paths)?
        .iter()
        .map(|path| {
            let name = path.strip_prefix("./").unwrap_or(path).display().to_string();
            let (statements, mistakes) = read(path, &name);
            errors.extend(mistakes);
            CheckedFile { name, statements, mistakes: 0 }
        })
        .collect();
    Ok((checked, errors))
}

/// The `*.sql` files of the given folders, schemas before queries, each kind in name order.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_file() {
            files.push(path.clone());
            continue;
        }
        let folders = [path.join("schemas"), path.join("queries")];
        let inside: Vec<&Path> = folders.iter().map(PathBuf::as_path).filter(|folder| folder.is_dir()).collect();
        let before = files.len();
        for folder in if inside.is_empty() { vec![path.as_path()] } else { inside } {
            files.extend(sql_files(folder)?);
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

/// As a server that finds the files in its folders.
async fn refused_by_a_server(files: &[CheckedFile]) -> Vec<Error> {
    let (catalog, mut errors) = catalog(files);
    errors.extend(refusals(&Arc::new(catalog), plan_settings()).await);
    errors
}

/// The stream plan of each view that is right, by name.
async fn explained(files: &[CheckedFile]) -> Vec<(String, Vec<String>)> {
    let catalog = Arc::new(catalog(files).0);
    let mut explained = Vec::new();
    for (name, view) in &catalog.views {
        if let Ok(plan) = planned(Arc::clone(view), Arc::clone(&catalog), plan_settings()).await {
            explained.push((name.clone(), plan.pipeline.explain()));
        }
    }
    explained
}

/// Of static tables, which are asked for their columns alone.
pub(super) fn snapshots() -> Arc<dyn SnapshotReader> {
    Arc::new(Snapshots::new(SourceDeps {
        kafka: KafkaSettings::default(),
        embedded: None,
        postgres: PostgresSettings::default(),
        clock: Clock::System,
    }))
}

pub(super) fn catalog(files: &[CheckedFile]) -> (Catalog, Vec<Error>) {
    let snapshots = snapshots();
    // A server reads them by their names.
    let mut in_order: Vec<&CheckedFile> = files.iter().collect();
    in_order.sort_by(|a, b| a.name.cmp(&b.name));
    catalog_of(in_order.into_iter().flat_map(|file| &file.statements), &snapshots)
}

async fn refused_by_run(files: &[CheckedFile]) -> Vec<Error> {
    let statements = files.iter().flat_map(|file| file.statements.iter().cloned()).collect();
    run::mistakes(statements, plan_settings()).await
}

/// Plans for one partition and for several: either may refuse.
pub(super) fn plan_settings() -> PlanSettings {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    PlanSettings { partitions: cores.max(2), wide_rows: run::WIDE_ROWS }
}

/// `queries/momentum.sql: 1 view`.
fn summary(file: &CheckedFile) -> String {
    let mut counts = [("table", 0), ("view", 0), ("function", 0), ("insert", 0), ("select", 0), ("explain", 0)];
    for statement in &file.statements {
        let kind = match statement {
            Statement::CreateTable(_) => 0,
            Statement::CreateView(_) | Statement::CreatePlainView(_) => 1,
            Statement::CreateFunction(_) => 2,
            Statement::Insert { .. } => 3,
            Statement::Select(_) => 4,
            Statement::Explain(_) => 5,
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
    use super::*;
    use crate::sql::parse_file;

    fn file(name: &str, text: &str) -> CheckedFile {
        CheckedFile { name: name.to_owned(), statements: parse_file(name, text).expect("right"), mistakes: 0 }
    }

    const TABLE: &str = "CREATE TABLE t (id BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
        WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json');";

    async fn reports(texts: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<CheckedFile> = texts.iter().map(|(name, text)| file(name, text)).collect();
        refused_by_a_server(&files).await.iter().map(Error::report).collect()
    }

    #[tokio::test]
    async fn a_stream_plan_says_what_is_kept_and_what_everything_waits_for() {
        let view =
            "CREATE MATERIALIZED VIEW v WITH ('allowed-lateness' = '2 seconds') AS SELECT window_end, count(*) AS c
            FROM HOP(t, ts, INTERVAL '1 minute', INTERVAL '5 minutes') WHERE id > 0 GROUP BY window_end;";
        let found = explained(&[file("t.sql", TABLE), file("v.sql", view)]).await;
        let wanted = "\
aggregate count(*) by window_end
    state window-0: one row for each key and pane; windows of HOP(1 minute, 5 minutes) go when the watermark passes their end by 2 seconds
    emits a row for each key when its window closes
    watermark of window_end: t - 2 seconds
  filter id > 0
      watermark of ts: t
      watermark of window_start: t - 5 minutes
      watermark of window_end: t
      watermark of window_time: t
    window function HOP(1 minute, 5 minutes)
        watermark of ts: t
        watermark of window_start: t - 5 minutes
        watermark of window_end: t
        watermark of window_time: t
      scan t
          watermark of ts: t";
        assert_eq!(found[0].1.join("\n"), wanted);
    }

    #[tokio::test]
    async fn a_name_that_is_defined_twice_is_reported_at_the_second_place_with_the_first() {
        let found = reports(&[("c.sql", &format!("\n{TABLE}")), ("a.sql", TABLE)]).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let wanted = "c.sql:2:1: \"t\" is defined twice\n  detail: the first definition is at a.sql:1:1";
        assert!(found[0].starts_with(wanted), "{found:?}");
    }

    #[tokio::test]
    async fn the_order_of_the_files_does_not_matter_and_views_may_read_one_another() {
        let view = "CREATE MATERIALIZED VIEW a AS SELECT id FROM p;";
        let plain = "CREATE VIEW p AS SELECT id, ts FROM t;";
        assert_eq!(reports(&[("1.sql", view), ("2.sql", plain), ("3.sql", TABLE)]).await, Vec::<String>::new());
        let above = "CREATE MATERIALIZED VIEW b AS SELECT id FROM a;";
        let found = reports(&[("1.sql", above), ("2.sql", view), ("3.sql", plain), ("4.sql", TABLE)]).await;
        assert_eq!(found, Vec::<String>::new());
    }

    #[tokio::test]
    async fn run_takes_what_needs_an_end_and_a_server_does_not() {
        let table = TABLE.replace("'kafka', 'topic' = 't'", "'filesystem', 'path' = 't.json'");
        let script =
            "CREATE MATERIALIZED VIEW a AS SELECT count(*) AS n FROM t;\nSELECT n + 1 AS m FROM a;\nSELECT x FROM a;";
        let files = [file("1.sql", &table), file("2.sql", script)];
        let by_run: Vec<String> = refused_by_run(&files).await.iter().map(Error::report).collect();
        assert_eq!(by_run, ["2.sql:3:8: column \"x\" does not exist\n  hint: there are n"]);
        let by_server: Vec<String> = refused_by_a_server(&files).await.iter().map(Error::report).collect();
        let starts = ["2.sql:2:1: a server runs", "2.sql:3:1: a server runs", "2.sql:1:1: an aggregate over a stream"];
        assert!(by_server.iter().zip(starts).all(|(report, start)| report.starts_with(start)), "{by_server:?}");
    }

    #[test]
    fn a_summary_counts_what_stands_in_a_file() {
        let mut checked = file("a.sql", TABLE);
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
        let found = files(&[folder.path().to_path_buf()]).expect("three files");
        let names: Vec<_> =
            found.iter().map(|path| path.strip_prefix(folder.path()).expect("inside").display().to_string()).collect();
        assert_eq!(names, ["schemas/z.sql", "queries/a.sql", "queries/b.sql"]);
        assert!(files(&[folder.path().join("nowhere")]).is_err());
        let empty = tempfile::tempdir().expect("a folder");
        assert!(files(&[empty.path().to_path_buf()]).is_err());
    }
}
