//! The files that the INSERTs of a run write: all rows for a file belong in it, and it is there after the last of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use crate::catalog::{Connector, Statement, TableDef};
use crate::error::{Error, Location, Result};
use crate::sink::file::{FileWriter, identity, same_file, written_by};

/// The files, by their path.
#[derive(Debug, Default)]
pub(super) struct Outputs(BTreeMap<PathBuf, File>);

#[derive(Debug, Default)]
struct File {
    /// INSERTs that have run, and that are still to.
    done: usize,
    left: usize,
    /// The first INSERT: its table and its place.
    first: Option<(Arc<TableDef>, Location)>,
    /// Between two INSERTs. Behind a lock because planning shares the session, which a writer by itself could not be.
    writer: Mutex<Option<FileWriter>>,
}

/// What one INSERT writes.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    table: Arc<TableDef>,
    /// Made with the first row: till then the file may be read by the very statement.
    writer: Option<FileWriter>,
}

impl Outputs {
    /// What the statements of a run will write.
    pub(super) fn of(statements: &[Statement]) -> Self {
        let tables = statements.iter().filter_map(|statement| match statement {
            Statement::CreateTable(table) => Some((table.name.as_str(), written_by(table)?)),
            _ => None,
        });
        let tables: BTreeMap<&str, PathBuf> = tables.collect();
        let mut files = BTreeMap::<PathBuf, File>::new();
        for statement in statements {
            if let Statement::Insert { target, .. } = statement
                && let Some(path) = tables.get(target.as_str())
            {
                files.entry(path.clone()).or_default().left += 1;
            }
        }
        Outputs(files)
    }

    /// Begins an INSERT at `place`.
    ///
    /// # Errors
    /// `Invalid` where an earlier one writes the same file as another table.
    pub(super) fn take(&mut self, table: &Arc<TableDef>, place: &Location) -> Result<Output> {
        // A table of another connector is refused by the writer.
        let path = written_by(table).unwrap_or_default();
        let file = self.0.entry(path.clone()).or_default();
        let (first, first_place) = file.first.get_or_insert_with(|| (Arc::clone(table), place.clone()));
        same_file(table, first).map_err(|differs| {
            Error::invalid(format!("two INSERTs write {} as different tables", path.display()))
                .detail(format!(
                    "the first is at {first_place}; this one has table \"{}\", which {differs}",
                    table.name
                ))
                .hint("declare both tables alike, or give them a path each")
                .at(place.clone())
        })?;
        let mut writer = file.writer.get_mut().take();
        if let Some(writer) = &mut writer {
            writer.go_on_as(table);
        }
        Ok(Output { path, table: Arc::clone(table), writer })
    }

    /// Ends an INSERT; the last one into a file puts it in its place.
    ///
    /// # Errors
    /// Those of [`FileWriter`].
    pub(super) fn put_back(&mut self, mut output: Output) -> Result<()> {
        // No row is a result too: the file says so.
        output.open()?;
        let file = self.count(&output);
        match output.writer.take_if(|_| file.left == 0) {
            Some(writer) => writer.finish(),
            None => {
                *file.writer.get_mut() = output.writer;
                Ok(())
            }
        }
    }

    /// Ends an INSERT that was only looked at.
    pub(super) fn pass(&mut self, output: &Output) {
        self.count(output);
    }

    fn count(&mut self, output: &Output) -> &mut File {
        let file = self.0.entry(output.path.clone()).or_default();
        file.done += 1;
        file.left = file.left.saturating_sub(1);
        file
    }

    /// # Errors
    /// `Invalid` where one of `tables` reads a file of which some INSERTs have run and others have not.
    pub(super) fn refuse_unfinished<'a>(&self, tables: impl IntoIterator<Item = &'a Arc<TableDef>>) -> Result<()> {
        for table in tables {
            let Connector::Filesystem(files) = &table.connector else { continue };
            let read = identity(files.path.as_ref());
            let unfinished =
                |(path, file): &(&PathBuf, &File)| file.done > 0 && file.left > 0 && path.starts_with(&read);
            let unfinished = self.0.iter().find(unfinished);
            if let Some((path, _)) = unfinished {
                return Err(Error::invalid(format!(
                    "table \"{}\" is read before the last INSERT into {}",
                    table.name,
                    path.display()
                ))
                .hint("a file is there when all INSERTs into it have run: put what reads it behind them"));
            }
        }
        Ok(())
    }
}

impl Output {
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.open()?.write(batch)
    }

    fn open(&mut self) -> Result<&mut FileWriter> {
        match &mut self.writer {
            Some(writer) => Ok(writer),
            none => Ok(none.insert(FileWriter::create(&self.table)?)),
        }
    }
}
