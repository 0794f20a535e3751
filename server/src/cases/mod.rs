//! Tests beside the queries: a file of rows, watermarks and what must come out, run in many ways.
//!
//! A file is SQL, with a test in a comment: `parse` reads it into a `script`. Its rows become `records`, its steps a `timeline` for each view
//! that it is about, and `drive` runs that view's pipeline along it, in each of the `ways`. What is seen is compared with what is
//! `expected`. tests/cases/README.md is the grammar, and the tests there are those of the server.

mod chain;
mod compare;
mod drive;
mod expected;
mod grid;
mod parse;
mod records;
mod script;
#[cfg(test)]
mod tests;
mod timeline;
mod value;
mod ways;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::chain::{Views, in_order};
use self::expected::{indented, is_said};
use self::records::{AllGiven, GivenTables, Place, given};
use self::script::{Action, Expected, Named, Script, SourceName, What};
use crate::catalog::{Defined, Statement, TableDef, ViewDef};
use crate::error::{Error, Location, Result};
use crate::pipeline::PlanSettings;
use crate::registry::{Catalog, TEST_ENDING, catalog_of, read_text, refusals, resolve_path, sql_files};
use crate::sql::parse_statements;
use crate::tables::source::SnapshotReader;

/// A test, and the definitions that it is about.
#[derive(Debug)]
pub struct Case {
    file: String,
    script: Script,
    statements: Vec<Statement>,
    /// What is wrong with the definitions, as far as their text says it.
    mistakes: Vec<Error>,
}

/// What a test has come to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How often its queries were run.
    pub runs: usize,
    /// What was not as expected; empty where the test has passed.
    pub failures: Vec<Failure>,
}

/// Something that is not as a test says.
#[derive(Debug)]
pub struct Failure {
    text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Failure {
    fn of(error: &Error) -> Self {
        Failure { text: error.report() }
    }
}

/// The tests in a folder and those below it, in the order of their names; a file is taken as it is.
///
/// # Errors
/// `Invalid` where there is none.
pub fn test_files(path: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    match path.is_dir() {
        true => search(path, &mut found)?,
        false => found.push(path.to_owned()),
    }
    if found.is_empty() {
        return Err(Error::invalid(format!("there is no test in {}", path.display()))
            .hint(format!("a test is a file whose name ends in {TEST_ENDING}")));
    }
    Ok(found)
}

fn search(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder)
        .map_err(|error| Error::invalid(format!("cannot read directory {}", folder.display())).caused_by(error))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // What is hidden, built or stored is nobody's test.
        if name.starts_with('.') || ["target", "touchline-data"].contains(&name.as_str()) {
            continue;
        }
        // A link to a folder above would lead round in circles.
        if path.is_dir() && !path.is_symlink() {
            search(&path, found)?;
        } else if name.ends_with(TEST_ENDING) && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

impl Case {
    /// Reads a test and the files that it uses.
    ///
    /// # Errors
    /// `Invalid`, one for each mistake of the test; those of its SQL are for [`Case::run`], which may expect them.
    pub fn read(path: &Path) -> Result<Self, Vec<Error>> {
        let file = path.strip_prefix("./").unwrap_or(path).display().to_string();
        let text = read_text(path).map_err(|error| vec![error])?;
        let case = Case::parse(&file, &text)?;
        case.with_used_files(path)
    }

    fn parse(file: &str, text: &str) -> Result<Self, Vec<Error>> {
        let (sql, script) = parse::parse(file, text)?;
        let (statements, mistakes) = parse_statements(file, &sql);
        Ok(Case { file: file.to_owned(), script, statements, mistakes })
    }

    fn with_used_files(mut self, path: &Path) -> Result<Self, Vec<Error>> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut errors = Vec::new();
        for Named { name, at } in self.script.uses.clone() {
            let used = folder.join(&name);
            let files = match used.is_dir() {
                true => sql_files(&used).map_err(|error| error.at(at.clone())),
                false => Ok(vec![used]),
            };
            for file in files.unwrap_or_else(|error| {
                errors.push(error);
                vec![]
            }) {
                match read_text(&file) {
                    Ok(text) => {
                        let (mut statements, mistakes) = parse_statements(&file.display().to_string(), &text);
                        for statement in &mut statements {
                            if let Statement::CreateTable(table) = statement {
                                resolve_path(table, &file);
                            }
                        }
                        self.statements.extend(statements);
                        self.mistakes.extend(mistakes);
                    }
                    Err(error) => errors.push(error.at(at.clone())),
                }
            }
        }
        if errors.is_empty() { Ok(self) } else { Err(errors) }
    }

    /// What the test says must hold.
    pub fn property(&self) -> &str {
        &self.script.property
    }

    /// Runs the test in every way.
    pub async fn run(&self) -> Outcome {
        let ran = async {
            let (catalog, wrong) = self.catalog(Arc::default(), BTreeSet::new());
            let views = self.views(&catalog)?;
            let mut mistakes: Vec<Error> = self.mistakes.iter().chain(&wrong).map(Error::duplicate).collect();
            if !self.script.refused.is_empty() {
                mistakes.extend(refusals(&Arc::new(only(catalog, &views)), SETTINGS).await);
                return Ok((1, self.not_refused(&mistakes)));
            }
            if !mistakes.is_empty() {
                return Ok((1, mistakes.iter().map(Failure::of).collect()));
            }
            let given = Arc::new(self.given(&catalog.defined)?);
            let (mut runs, mut failures) = (0, Vec::new());
            for view in views {
                let (catalog, _) = self.catalog(Arc::clone(&given), BTreeSet::new());
                let Some(view) = catalog.views.get(&view).cloned() else { continue };
                let (file, script, case) = (self.file.as_str(), &self.script, self);
                let subject =
                    Subject { file, script, case, view, catalog: Arc::new(catalog), given: Arc::clone(&given) };
                let (more, wrong) = ways::run(&subject).await;
                runs += more;
                failures.extend(wrong);
            }
            Ok::<_, Error>((runs, failures))
        };
        match ran.await {
            Ok((runs, failures)) => Outcome { runs, failures },
            Err(error) => Outcome { runs: 0, failures: vec![Failure::of(&error)] },
        }
    }

    /// The definitions over the rows of the test.
    fn catalog(&self, given: Arc<AllGiven>, left_out: BTreeSet<Place>) -> (Catalog, Vec<Error>) {
        let tables: Arc<dyn SnapshotReader> = Arc::new(GivenTables { given, left_out });
        catalog_of(&self.statements, &tables)
    }

    /// The views that the test is about: those that it defines, and those that it names.
    fn views(&self, catalog: &Catalog) -> Result<Vec<String>> {
        let all = || catalog.views.keys().cloned().collect::<Vec<_>>();
        let own = catalog.views.values().filter(|view| view.location.file == self.file);
        let mut views: BTreeSet<String> = own.map(|view| view.name.clone()).collect();
        let expected = || self.script.steps.iter().flat_map(|step| &step.expected);
        for Named { name, at } in expected().filter_map(|expected| expected.view.as_ref()) {
            if !catalog.views.contains_key(name) {
                return Err(Error::invalid(format!("there is no materialized view \"{name}\""))
                    .hint(format!("there are {}", all().join(", ")))
                    .at(at.clone()));
            }
            views.insert(name.clone());
        }
        if views.is_empty() && catalog.views.len() == 1 {
            views.extend(all());
        }
        if views.is_empty() && self.script.refused.is_empty() && self.mistakes.is_empty() {
            return Err(Error::invalid("the test is about no view")
                .hint("define a materialized view in it, or name one, as in `expect momentum_5m`")
                .at(Location { file: self.file.clone(), line: 0, column: 0 }));
        }
        if let Some(unnamed) = expected().find(|expected| expected.view.is_none()).filter(|_| views.len() > 1) {
            return Err(Error::invalid("the view is not named")
                .hint(format!("the test is about {}: say which one is meant", Vec::from_iter(views).join(" and ")))
                .at(unnamed.at.clone()));
        }
        Ok(views.into_iter().collect())
    }

    /// The records of all tables; also says whether every line is about a table that there is.
    fn given(&self, defined: &Defined) -> Result<AllGiven> {
        let mut all = AllGiven::new();
        let mut begun = false;
        for action in self.script.steps.iter().flat_map(|step| &step.actions) {
            match action {
                Action::Rows { table, partition, records } => {
                    let definition = named(defined, table)?;
                    let wrong = |what: &str, hint: &str| Err(Error::invalid(what).hint(hint).at(table.at.clone()));
                    match definition.is_stream() {
                        false if begun => {
                            return wrong(
                                "a static table is read once, when the query starts",
                                "move its rows up, before those of streams",
                            );
                        }
                        true if records.is_empty() => return wrong("there are no rows", "write them below the line"),
                        stream => begun |= stream,
                    }
                    let records = records.iter().map(|record| given(&definition, record, self.script.day));
                    let records = records.collect::<Result<Vec<_>>>()?;
                    all.entry(table.name.clone()).or_default().entry(*partition).or_default().extend(records);
                }
                Action::Watermark { source, .. } | Action::Idle(source) => has_watermark(defined, source)?,
                Action::End(Some(table)) => drop(named(defined, table)?),
                Action::End(None) | Action::Silence(_) | Action::Restart => {}
            }
        }
        Ok(all)
    }

    /// Whether the definitions have the mistakes that the test says they have, and no others.
    fn not_refused(&self, mistakes: &[Error]) -> Vec<Failure> {
        let mut left: Vec<&Error> = mistakes.iter().collect();
        let mut failures = Vec::new();
        for Expected { at, what, .. } in &self.script.refused {
            let What::Refused(report) = what else { continue };
            match left.iter().position(|error| is_said(report, error, &self.file)) {
                Some(found) => drop(left.remove(found)),
                None => failures
                    .push(Failure { text: format!("{at}: it is not refused for this reason: {}", report.first) }),
            }
        }
        let others = left
            .iter()
            .map(|error| format!("it is refused for a reason that is not expected\n{}", indented(&error.report())));
        failures.extend(others.map(|what| Failure { text: format!("{}: {what}", self.file) }));
        failures
    }
}

/// Plans for one partition and for several: either may refuse.
const SETTINGS: PlanSettings = PlanSettings { partitions: 2, wide_rows: 1 };

/// These views, and those that they read.
fn only(mut catalog: Catalog, views: &[String]) -> Catalog {
    let read = views.iter().filter_map(|view| catalog.views.get(view)).flat_map(|view| in_order(view, &catalog));
    let kept: BTreeSet<String> = read.map(|view| view.name.clone()).collect();
    catalog.views.retain(|name, _| kept.contains(name));
    catalog
}

fn named(defined: &Defined, Named { name, at }: &Named) -> Result<Arc<TableDef>> {
    if let Some(table) = defined.tables.get(name) {
        return Ok(Arc::clone(table));
    }
    let tables: Vec<&str> = defined.tables.keys().map(String::as_str).collect();
    let error = match defined.plain_views.contains_key(name) {
        true => Error::invalid(format!("\"{name}\" is a view, and has the rows of the tables that it reads")),
        false => Error::invalid(format!("there is no table \"{name}\"")),
    };
    Err(error.hint(format!("there are {}", tables.join(", "))).at(at.clone()))
}

fn has_watermark(defined: &Defined, source: &SourceName) -> Result<()> {
    let Some(table) = &source.table else { return Ok(()) };
    match named(defined, table)?.watermark {
        Some(_) => Ok(()),
        None => Err(Error::invalid(format!("table \"{}\" has no watermark", table.name))
            .hint("declare one, as in `WATERMARK FOR ts AS ts - INTERVAL '5' SECOND`")
            .at(source.at.clone())),
    }
}

/// One view of a test.
#[derive(Debug)]
struct Subject<'a> {
    file: &'a str,
    script: &'a Script,
    case: &'a Case,
    view: Arc<ViewDef>,
    catalog: Arc<Catalog>,
    given: Arc<AllGiven>,
}

impl Subject<'_> {
    /// The query, and those that it reads, as a server would run them.
    async fn planned(&self, partitions: usize, wide_rows: usize) -> Result<Views> {
        let settings = PlanSettings { partitions, wide_rows };
        Views::planned(&self.view, &self.catalog, settings).await
    }

    /// The same tables without some of their records.
    fn without(&self, left_out: BTreeSet<Place>) -> Catalog {
        self.case.catalog(Arc::clone(&self.given), left_out).0
    }

    /// Where a step stands in the file; 0 where there is none.
    fn line_of(&self, step: usize) -> u64 {
        self.script.steps.get(step).map_or(0, |step| step.line)
    }

    /// The line of the step behind this one.
    fn line_after(&self, step: usize) -> Option<u64> {
        self.script.steps.get(step + 1).map(|step| step.line)
    }

    fn failure(&self, line: u64, what: impl fmt::Display) -> Failure {
        let at = Location { file: self.file.to_owned(), line, column: 0 };
        Failure { text: format!("{at}: {what}") }
    }
}
