//! The result of an `INSERT INTO` a filesystem table: one file, there as a whole or not at all.

mod compressed;
mod json_text;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Component, Path, PathBuf};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use self::compressed::TextWriter;
use super::parquet::public_schema;
use crate::catalog::{Check, Column, ColumnKind, Connector, FilesystemPath, Format, RecordRows, TableDef};
use crate::changelog::Changes;
use crate::decode::json::{refusal, sql_type};
use crate::error::{Error, Result};

/// Writes beside its target and takes the target's place at the end.
#[derive(Debug)]
pub struct FileWriter {
    format: Encoder,
    schema: SchemaRef,
    rules: Rules,
    staging: Staging,
    target: PathBuf,
}

/// What rows must meet, and whose rule it is.
#[derive(Debug)]
struct Rules {
    table: String,
    /// Of each column of the file.
    checks: Vec<Vec<Check>>,
}

impl Rules {
    fn of(table: &TableDef) -> Self {
        Rules { table: table.name.clone(), checks: physical(table).map(|column| column.checks.clone()).collect() }
    }
}

/// A file under a hidden name. It does not stay where the statement fails.
#[derive(Debug)]
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        // Gone already where it has taken its target's place.
        let _ = fs::remove_file(&self.0);
    }
}

#[derive(Debug)]
enum Encoder {
    Json(Box<arrow::json::LineDelimitedWriter<TextWriter>>),
    Csv(Box<arrow::csv::Writer<TextWriter>>),
    Parquet(Box<ArrowWriter<BufWriter<File>>>),
}

impl FileWriter {
    /// Whether a table's file takes rows that relate so to those before them: to be asked before the first of them.
    ///
    /// # Errors
    /// `Invalid` where they do not only come.
    pub fn check_changes(table: &TableDef, changes: &Changes) -> Result<()> {
        changes.append_only(&format!("the file of table \"{}\"", table.name))
    }

    /// Begins the file of a table: its path, or `part-0` in it where the path is a folder or has no extension.
    ///
    /// # Errors
    /// `Invalid` where the path cannot be written, with the path.
    pub fn create(table: &TableDef) -> Result<Self> {
        let Connector::Filesystem(connector) = &table.connector else {
            return Err(Error::invalid(format!(
                "cannot INSERT INTO \"{}\", which is not a filesystem table",
                table.name
            ))
            .hint("declare the target with 'connector' = 'filesystem'"));
        };
        // Times are written as text, or typed.
        if let Some(column) = physical(table).find(|column| !column.timestamps.is_text())
            && table.format != Format::Parquet
        {
            let (table, column) = (&table.name, &column.name);
            return Err(Error::invalid(format!(
                "cannot INSERT INTO \"{table}\", whose column \"{column}\" is declared to hold times as numbers"
            ))
            .hint("leave 'timestamp-format' out of the target's options"));
        }
        if table.rows != RecordRows::One {
            return Err(Error::invalid(format!(
                "cannot INSERT INTO \"{}\", whose records hold several rows",
                table.name
            ))
            .hint("leave 'json.rows' out of the target's options"));
        }
        let inside = |column: &&Column| !column.reading.json.is_empty() && !column.reading.json.is_whole();
        if let Some(column) = physical(table).find(inside)
            && table.format == Format::Json
        {
            let (table, column) = (&table.name, &column.name);
            return Err(Error::invalid(format!(
                "cannot INSERT INTO \"{table}\", whose column \"{column}\" has JSON inside"
            ))
            .hint("declare the column as JSON"));
        }
        let target = file_of(connector, table.format);
        let refused = |error: std::io::Error| {
            Error::invalid(format!("cannot write {}", target.display()))
                .caused_by(error)
                .hint("check that the folder can be created and written by this user")
        };
        let folder = target.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(refused)?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        // Hidden names are not read by filesystem tables, this one's readers included.
        let staging = Staging(folder.join(format!(".{name}.{}", std::process::id())));
        let file = BufWriter::with_capacity(1 << 20, File::create(&staging.0).map_err(refused)?);
        let schema = physical_schema(table);
        let format = match table.format {
            Format::Json => Encoder::Json(Box::new(json_text::writer(TextWriter::new(file, &target)?))),
            Format::Csv => {
                let file = TextWriter::new(file, &target)?;
                let mut writer =
                    arrow::csv::WriterBuilder::new().with_header(true).with_delimiter(table.csv_delimiter).build(file);
                // The header line stands there also when no row follows.
                writer.write(&RecordBatch::new_empty(SchemaRef::clone(&schema)))?;
                Encoder::Csv(Box::new(writer))
            }
            Format::Parquet => {
                let level = ZstdLevel::try_new(1).map_err(|error| Error::bug("compression level").caused_by(error))?;
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                let writer =
                    ArrowWriter::try_new(file, public_schema(&schema)?, Some(properties)).map_err(not_parquet)?;
                Encoder::Parquet(Box::new(writer))
            }
        };
        Ok(FileWriter { format, schema, rules: Rules::of(table), staging, target })
    }

    /// The rows that follow are of `table`, whose file this is, too: see [`same_file`].
    pub fn go_on_as(&mut self, table: &TableDef) {
        self.rules = Rules::of(table);
    }

    /// Appends rows; columns are matched by position and cast to the table's types.
    ///
    /// # Errors
    /// `Invalid` where number or types of columns do not fit, or a value does not, or does not meet a check.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let fields = self.schema.fields();
        if fields.len() != batch.num_columns() {
            return Err(Error::invalid(format!(
                "INSERT INTO \"{}\" has {} columns, the table {}",
                self.rules.table,
                batch.num_columns(),
                fields.len()
            )));
        }
        let columns =
            batch.columns().iter().zip(fields).map(|(column, field)| fit(column, field)).collect::<Result<Vec<_>>>()?;
        for ((column, field), checks) in columns.iter().zip(fields).zip(&self.rules.checks) {
            for check in checks {
                if let Some(row) = check.refused(column).first() {
                    return Err(Error::invalid(format!("a row does not fit table \"{}\"", self.rules.table))
                        .detail(refusal(field.name(), check, column, *row))
                        .hint("leave such rows out in the WHERE, or correct the CREATE TABLE"));
                }
            }
        }
        let batch = RecordBatch::try_new(SchemaRef::clone(&self.schema), columns)?;
        match &mut self.format {
            Encoder::Json(writer) => Ok(writer.write(&batch)?),
            Encoder::Csv(writer) => Ok(writer.write(&batch)?),
            Encoder::Parquet(writer) => {
                let schema = public_schema(&self.schema)?;
                let columns = batch.columns().iter().zip(schema.fields());
                let columns = columns.map(|(column, field)| fit(column, field)).collect::<Result<Vec<_>>>()?;
                writer.write(&RecordBatch::try_new(schema, columns)?).map_err(not_parquet)
            }
        }
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// `Unavailable` where the disk refuses.
    pub fn finish(self) -> Result<()> {
        let mut file = match self.format {
            Encoder::Json(mut writer) => {
                writer.finish()?;
                writer.into_inner().into_file()?
            }
            Encoder::Csv(writer) => writer.into_inner().into_file()?,
            Encoder::Parquet(writer) => writer.into_inner().map_err(not_parquet)?,
        };
        file.flush()?;
        file.into_inner().map_err(|error| Error::from(error.into_error()))?.sync_all()?;
        Ok(fs::rename(&self.staging.0, &self.target)?)
    }
}

fn not_parquet(error: parquet::errors::ParquetError) -> Error {
    Error::invalid("rows cannot be written as Parquet").caused_by(error)
}

fn file_of(connector: &FilesystemPath, format: Format) -> PathBuf {
    let path = Path::new(&connector.path);
    if path.extension().is_some() && !path.is_dir() {
        return path.to_owned();
    }
    path.join(match format {
        Format::Json => "part-0.json",
        Format::Csv => "part-0.csv",
        Format::Parquet => "part-0.parquet",
    })
}

/// The file that an INSERT into a table writes, however its path is spelled; `None` where it is not made of files.
pub fn written_by(table: &TableDef) -> Option<PathBuf> {
    match &table.connector {
        Connector::Filesystem(connector) => Some(identity(&file_of(connector, table.format))),
        Connector::Kafka(_) | Connector::Postgres(_) | Connector::View(_) => None,
    }
}

/// A path as the file system knows it, as far as it exists.
pub fn identity(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let known = path.ancestors().find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    let Some((ancestor, mut identity)) = known else { return path };
    for component in path.strip_prefix(ancestor).unwrap_or(Path::new("")).components() {
        match component {
            Component::ParentDir => drop(identity.pop()),
            other => identity.push(other),
        }
    }
    identity
}

/// Whether rows of two tables can stand in one file.
///
/// # Errors
/// What differs, in words that follow "which".
pub fn same_file(one: &TableDef, other: &TableDef) -> Result<(), String> {
    if one.format != other.format {
        return Err("has another format".to_owned());
    }
    if one.csv_delimiter != other.csv_delimiter {
        return Err("has another 'csv.delimiter'".to_owned());
    }
    let (one, other) = (physical_schema(one), physical_schema(other));
    if one.fields().len() != other.fields().len() {
        return Err(format!("has {} columns and not {}", one.fields().len(), other.fields().len()));
    }
    let declared = |field: &Field| {
        let null = if field.is_nullable() { "" } else { " not null" };
        let says = if json_text::is_marked(field) { "json".to_owned() } else { sql_type(field.data_type()) };
        format!("\"{}\" {says}{null}", field.name())
    };
    match one.fields().iter().zip(other.fields()).find(|(one, other)| one != other) {
        Some((one, other)) => Err(format!("has {} and not {}", declared(one), declared(other))),
        None => Ok(()),
    }
}

/// The columns that stand in the file: metadata columns are the reader's.
fn physical_schema(table: &TableDef) -> SchemaRef {
    let field = |column: &Column| match column.reading.json.is_whole() {
        true => json_text::marked(column.field()),
        false => column.field(),
    };
    Schema::new(physical(table).map(field).collect::<Vec<_>>()).into()
}

fn physical(table: &TableDef) -> impl Iterator<Item = &Column> {
    table.columns.iter().filter(|column| matches!(column.kind, ColumnKind::Physical { .. }))
}

fn fit(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if column.data_type() == field.data_type() {
        return Ok(ArrayRef::clone(column));
    }
    // Not safe: a value that does not fit is an error, never a NULL in its place.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, field.data_type(), &options).map_err(|cause| {
        let [wanted, from] = [field.data_type(), column.data_type()].map(touchline_udfs::describe::sql_type);
        Error::invalid(format!("column \"{}\" is {wanted}, which a value of type {from} does not fit", field.name()))
            .caused_by(cause)
            .hint("columns are matched by position; write CAST or TRY_CAST in the SELECT, or correct the CREATE TABLE")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Statement;
    use crate::error::ErrorKind;
    use crate::sql::parse_file;

    #[test]
    fn a_file_takes_rows_that_only_come() {
        let text = "CREATE TABLE o (k BIGINT) WITH ('connector' = 'filesystem', 'path' = 'o.json');";
        let Some(Statement::CreateTable(table)) = parse_file("o.sql", text).expect("right").pop() else {
            panic!("it is a table")
        };
        assert!(FileWriter::check_changes(&table, &Changes::Append).is_ok());
        for changes in [Changes::Upsert(vec![0]), Changes::Retract] {
            let error = FileWriter::check_changes(&table, &changes).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.primary().contains("cannot go into the file of table \"o\" yet"), "{}", error.report());
        }
    }
}
