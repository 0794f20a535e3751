//! The definition files as they stand: read, parsed, and for each the last version that was right.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use datafusion::catalog::TableProvider;

use super::upstreams::Streams;
use crate::catalog::{Connector, Defined, Statement, TableDef, ViewDef};
use crate::error::{Error, Location, Result};
use crate::pipeline::Tables;
use crate::sql::{Functions, parse_file};
use crate::tables::Published;
use crate::tables::source::{SnapshotReader, SourceTable};

/// How the names of tests beside the queries end: they are SQL, and no definitions of a server.
pub const TEST_ENDING: &str = ".test.sql";

/// Longest definition file, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the files define: the catalog that queries are planned against.
#[derive(Debug, Clone)]
pub struct Catalog {
    pub defined: Defined,
    pub views: BTreeMap<String, Arc<ViewDef>>,
    pub functions: Arc<Functions>,
    snapshots: Arc<dyn SnapshotReader>,
    /// What views look like to queries above.
    pub(super) streams: Arc<Streams>,
    /// The files that all of this stands in, by name, as they were read; none outside a server.
    pub(super) texts: Arc<BTreeMap<String, Arc<str>>>,
    /// Where the rows of views are that run, and this catalog with them; none do outside a server.
    pub(super) published: Weak<Published>,
}

impl Catalog {
    pub fn new(snapshots: Arc<dyn SnapshotReader>) -> Self {
        Catalog {
            defined: Defined::default(),
            views: BTreeMap::new(),
            functions: Arc::default(),
            snapshots,
            streams: Arc::default(),
            texts: Arc::default(),
            published: Weak::new(),
        }
    }

    /// The catalog of a server, which shows its views there.
    pub(super) fn shown_in(self, published: &Arc<Published>) -> Self {
        Catalog { published: Arc::downgrade(published), ..self }
    }
}

impl Tables for Catalog {
    fn defined(&self) -> &Defined {
        &self.defined
    }

    fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(SourceTable::new(Arc::clone(table), Arc::clone(&self.snapshots))))
    }

    fn functions(&self) -> Arc<Functions> {
        Arc::clone(&self.functions)
    }

    fn view_names(&self) -> Vec<String> {
        self.views.keys().cloned().collect()
    }
}

/// One file and what became of it.
#[derive(Debug, Default)]
struct FileState {
    text: String,
    /// Seconds and nanoseconds of its last change, as the file system has them.
    modified: Option<(i64, i64)>,
    /// Of the last version without an error, and its text.
    good: Vec<Statement>,
    good_text: Arc<str>,
    errors: Vec<Error>,
}

/// All definition files of a server.
#[derive(Debug, Default)]
pub struct Files {
    files: BTreeMap<PathBuf, FileState>,
}

/// What a look at the directories found.
#[derive(Debug)]
pub struct Loaded {
    pub catalog: Catalog,
    /// Every mistake, with its place.
    pub errors: Vec<Error>,
    /// Files that have been written since the last look, be it with the same text.
    pub touched: BTreeSet<String>,
}

impl Files {
    /// Looks at the directories again. A file with a mistake counts as its last good version; one that is gone is gone.
    ///
    /// # Errors
    /// `Invalid` where a directory cannot be read.
    pub fn load(&mut self, directories: &[PathBuf], snapshots: &Arc<dyn SnapshotReader>) -> Result<Loaded> {
        let mut present = Vec::new();
        for directory in directories {
            present.extend(sql_files(directory)?);
        }
        self.files.retain(|path, _| present.contains(path));
        let mut touched = BTreeSet::new();
        for path in present {
            let modified = std::fs::metadata(&path).map(|metadata| (metadata.mtime(), metadata.mtime_nsec())).ok();
            self.read(&path);
            let state = self.files.entry(path.clone()).or_default();
            if std::mem::replace(&mut state.modified, modified) != modified {
                touched.insert(path.display().to_string());
            }
        }
        let (catalog, errors) = self.catalog(snapshots);
        Ok(Loaded { catalog, errors, touched })
    }

    fn read(&mut self, path: &Path) {
        let shown = path.display().to_string();
        let whole = Location { file: shown.clone(), line: 0, column: 0 };
        let text = match read_text(path) {
            Ok(text) => text,
            Err(error) => {
                self.files.entry(path.to_owned()).or_default().errors = vec![error.at(whole)];
                return;
            }
        };
        let state = self.files.entry(path.to_owned()).or_default();
        if state.text == text && (!state.good.is_empty() || !state.errors.is_empty()) {
            return;
        }
        match parse_file(&shown, &text) {
            Ok(mut statements) => {
                for statement in &mut statements {
                    if let Statement::CreateTable(table) = statement {
                        resolve_path(table, path);
                    }
                }
                state.good = statements;
                state.good_text = text.as_str().into();
                state.errors = vec![];
            }
            Err(errors) => state.errors = errors,
        }
        state.text = text;
    }

    fn catalog(&self, snapshots: &Arc<dyn SnapshotReader>) -> (Catalog, Vec<Error>) {
        let statements = self.files.values().flat_map(|state| &state.good);
        let (mut catalog, mut errors) = catalog_of(statements, snapshots);
        let texts = self.files.iter().map(|(path, state)| (path.display().to_string(), Arc::clone(&state.good_text)));
        catalog.texts = Arc::new(texts.collect());
        for state in self.files.values() {
            errors.extend(state.errors.iter().map(Error::duplicate));
        }
        (catalog, errors)
    }
}

/// The catalog that statements make together, in whichever order they stand, and what is wrong with them as a whole.
///
/// Of two definitions of a name the first counts; within one file the parser has said so already.
pub fn catalog_of<'a>(
    statements: impl IntoIterator<Item = &'a Statement>,
    snapshots: &Arc<dyn SnapshotReader>,
) -> (Catalog, Vec<Error>) {
    let mut errors = Vec::new();
    let mut catalog = Catalog::new(Arc::clone(snapshots));
    let mut functions = Vec::new();
    let mut first: BTreeMap<&str, &Location> = BTreeMap::new();
    for statement in statements {
        let (name, location) = match statement {
            Statement::CreateFunction(function) => {
                functions.push(function);
                continue;
            }
            Statement::CreateTable(table) => (&table.name, &table.location),
            Statement::CreatePlainView(view) => (&view.name, &view.location),
            Statement::CreateView(view) => (&view.name, &view.location),
            Statement::Insert { view: ViewDef { location, .. }, .. } | Statement::Select(ViewDef { location, .. }) => {
                errors.push(not_for_a_server(location));
                continue;
            }
            Statement::Explain(explained) => {
                errors.push(not_for_a_server(explained.location()));
                continue;
            }
        };
        if let Some(first) = first.get(name.as_str()) {
            if first.file != location.file {
                errors.push(
                    Error::invalid(format!("\"{name}\" is defined twice"))
                        .detail(format!("the first definition is at {first}"))
                        .hint("rename or delete one of them")
                        .at(location.clone()),
                );
            }
            continue;
        }
        first.insert(name, location);
        match statement {
            Statement::CreateTable(table) => drop(catalog.defined.tables.insert(name.clone(), Arc::new(table.clone()))),
            Statement::CreatePlainView(view) => {
                drop(catalog.defined.plain_views.insert(name.clone(), Arc::new(view.clone())))
            }
            Statement::CreateView(view) => drop(catalog.views.insert(name.clone(), Arc::new(view.clone()))),
            Statement::CreateFunction(_) | Statement::Insert { .. } | Statement::Select(_) | Statement::Explain(_) => {}
        }
    }
    let (functions, mistakes) = Functions::compile(functions);
    catalog.functions = Arc::new(functions);
    errors.extend(mistakes);
    (catalog, errors)
}

/// The mistake of an INSERT, SELECT or EXPLAIN among a server's definitions.
fn not_for_a_server(location: &Location) -> Error {
    Error::invalid("a server runs CREATE TABLE, CREATE VIEW, CREATE MATERIALIZED VIEW and CREATE FUNCTION only")
        .hint(
            "run INSERT and SELECT with `touchline run FILE`, which `touchline check --run FILE` checks, \
             or ask a running server with `touchline sql -c`",
        )
        .at(location.clone())
}

/// The `*.sql` files of a directory in name order; hidden ones, as editors leave behind, and tests do not count.
///
/// # Errors
/// `Invalid` where the directory cannot be read.
pub fn sql_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).map_err(|error| {
        Error::invalid(format!("cannot read directory {}", directory.display()))
            .caused_by(error)
            .hint("create it, or name another one under [catalog] in the configuration")
    })?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let other = path.file_name().map(|name| name.to_string_lossy());
            let other = other.is_none_or(|name| name.starts_with('.') || name.ends_with(TEST_ENDING));
            !other && path.extension().is_some_and(|extension| extension == "sql") && path.is_file()
        })
        .collect();
    files.sort();
    Ok(files)
}

/// # Errors
/// `Invalid` for a file that cannot be read, is too long, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).map(|metadata| metadata.len());
    if size.as_ref().is_ok_and(|size| *size > FILE_BYTES_MAX) {
        return Err(Error::invalid(format!("the file is longer than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::invalid(format!("cannot read {}", path.display())).caused_by(error))?;
    // Some editors begin a file with a byte order mark, which is not SQL.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Relative paths of tables count from the file that declares them.
pub fn resolve_path(table: &mut TableDef, file: &Path) {
    if let Connector::Filesystem(target) = &mut table.connector
        && Path::new(&target.path).is_relative()
        && let Some(directory) = file.parent()
    {
        let joined = directory.join(&target.path);
        let absolute = std::path::absolute(&joined).unwrap_or(joined);
        target.path = absolute.display().to_string();
    }
}
