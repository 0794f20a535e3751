//! The rows of a test as the records of a source: each goes through the decoder of its table, as a topic's does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, TimeUnit};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use serde_json::Value as Json;

use super::script::{Cell, Column, Record as Written};
use super::value::Day;
use crate::catalog::{Column as TableColumn, ColumnKind, Format, MetadataKey, TableDef};
use crate::clock::{Clock, Micros};
use crate::decode::TableDecoder;
use crate::error::{Error, ErrorKind, Result};
use crate::operator::epoch_cell::micros;
use crate::pipeline::StreamSlot;
use crate::source::{DeadLetter, Offset, Partition, Polled, Progress, Record};
use crate::tables::source::{SnapshotBatches, SnapshotReader};

/// A record of a test.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    value: Vec<u8>,
    timestamp_ms: Option<i64>,
    key: Option<Vec<u8>>,
}

/// The records of all tables, by partition, in the order of their offsets.
pub(super) type AllGiven = BTreeMap<String, BTreeMap<Partition, Vec<Given>>>;

/// Table, partition and offset of a record.
pub(super) type Place = (String, Partition, Offset);

/// The record that a row stands for.
///
/// # Errors
/// `Invalid` for a column that the table does not have, or that nobody can give.
pub(super) fn given(table: &TableDef, record: &Written, day: Day) -> Result<Given> {
    let row = match record {
        Written::Raw(text) => return Ok(Given { value: text.clone().into_bytes(), ..Given::default() }),
        Written::Row(row) => row,
    };
    let (mut fields, mut given) = (Vec::new(), Given::default());
    for (Column { name, at }, cell) in row {
        let of_field = |column: &&TableColumn| column.field_names().any(|field| field == name);
        let of_name = |column: &&TableColumn| column.name == *name;
        // A field may be called as a computed column is.
        let column = table.columns.iter().find(of_field).or_else(|| table.columns.iter().find(of_name));
        let column = column.ok_or_else(|| {
            let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            Error::invalid(format!("table \"{}\" has no column \"{name}\"", table.name))
                .hint(format!("there are {}", columns.join(", ")))
                .at(at.clone())
        })?;
        match column.kind {
            ColumnKind::Physical { .. } => {
                fields.push(format!("{}:{}", Json::from(name.as_str()), field(column, cell, day)))
            }
            ColumnKind::Metadata(key) => given.set(key, column, cell, day).map_err(|error| error.at(at.clone()))?,
            ColumnKind::Computed(_) => {
                return Err(Error::invalid(format!("column \"{name}\" is computed, and not in a record"))
                    .hint("leave it out, and give what it is computed from")
                    .at(at.clone()));
            }
        }
    }
    given.value = format!("{{{}}}", fields.join(",")).into_bytes();
    Ok(given)
}

impl Given {
    fn set(&mut self, key: MetadataKey, column: &TableColumn, cell: &Cell, day: Day) -> Result<()> {
        match (key, cell) {
            (MetadataKey::Timestamp | MetadataKey::Key, Cell::Null) => {}
            (MetadataKey::Key, Cell::Bare(text) | Cell::Quoted(text)) => self.key = Some(text.clone().into_bytes()),
            (MetadataKey::Timestamp, Cell::Bare(text) | Cell::Quoted(text)) => {
                let time = day.micros(text).ok_or_else(|| Error::invalid(format!("\"{text}\" is no time")))?;
                self.timestamp_ms = Some(time.div_euclid(1_000));
            }
            _ => {
                return Err(Error::invalid(format!(
                    "column \"{}\" says where the record is, which a row does not",
                    column.name
                ))
                .hint("leave it out: topic, partition and offset are those of the step"));
            }
        }
        Ok(())
    }
}

/// A cell as JSON that the column's type takes; as a text where it has none, so that it is a bad value.
fn field(column: &TableColumn, cell: &Cell, day: Day) -> String {
    let text = match cell {
        Cell::Null => return "null".to_owned(),
        Cell::Quoted(text) => return Json::from(text.as_str()).to_string(),
        Cell::Bare(text) => text,
    };
    // As it is written: a number has more digits than a float can hold.
    let json = || serde_json::from_str::<Json>(text).is_ok().then(|| text.clone());
    let value = match &column.data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => None,
        DataType::Date32 | DataType::Time32(_) | DataType::Time64(_) => None,
        DataType::Timestamp(..) => day.time(text).and_then(|nanos| time(column, nanos)).or_else(json),
        _ => json(),
    };
    value.unwrap_or_else(|| Json::from(text.as_str()).to_string())
}

/// As the table says that times are written.
fn time(column: &TableColumn, nanos: i128) -> Option<String> {
    if column.timestamps.is_text() {
        let (seconds, rest) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
        let time = chrono::DateTime::from_timestamp(i64::try_from(seconds).ok()?, u32::try_from(rest).ok()?)?;
        return Some(format!("\"{}\"", time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)));
    }
    let nanos_of_tick = match column.timestamps.epoch_unit()? {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    Some(nanos.div_euclid(nanos_of_tick).to_string())
}

/// A record as a query reads it.
#[derive(Debug)]
pub(super) struct Decoded {
    /// `None` where the record is no row.
    pub(super) row: Option<RecordBatch>,
    pub(super) time: Option<Micros>,
    pub(super) progress: Progress,
    pub(super) bad: Option<DeadLetter>,
    /// The table does not go on with a bad record.
    pub(super) fails: Option<Error>,
}

/// Decodes the records of one slot one by one.
pub(super) struct SlotDecoder {
    decoder: TableDecoder,
    clock: Clock,
    time_column: Option<usize>,
}

impl SlotDecoder {
    pub(super) fn try_new(slot: &StreamSlot) -> Result<Self> {
        let clock = Clock::manual(0);
        let decoder = TableDecoder::try_new(&as_json(&slot.table), slot.columns(), clock.clone())?;
        Ok(SlotDecoder { decoder, clock, time_column: slot.time_column() })
    }

    pub(super) fn decode(
        &mut self,
        partition: Partition,
        offset: Offset,
        given: &Given,
        now: Micros,
    ) -> Result<Decoded> {
        self.clock.set(now);
        let mut fails = self.decoder.push(&record(partition, offset, given)).err();
        let mut batch = match self.decoder.finish(&Polled::default()) {
            // What cannot be computed is seen at the end.
            Err(error) if fails.is_none() && error.kind() == ErrorKind::Invalid => {
                fails = Some(error);
                self.decoder.finish(&Polled::default())?
            }
            finished => finished?,
        };
        let row = batch.batches.pop();
        let time = match (&row, self.time_column) {
            (Some(row), Some(column)) if row.column(column).is_valid(0) => micros(row.column(column))?.first().copied(),
            _ => None,
        };
        let progress = batch.progress.remove(&partition).ok_or_else(|| Error::bug("a record that was not read"))?;
        Ok(Decoded { row, time, progress, bad: batch.dead_letters.pop(), fails })
    }
}

fn record(partition: Partition, offset: Offset, given: &Given) -> Record<'_> {
    Record {
        partition,
        offset,
        timestamp_ms: given.timestamp_ms,
        key: given.key.as_deref(),
        value: Some(&given.value),
        headers: None,
    }
}

/// Rows of a test are JSON, whatever the table's files are.
fn as_json(table: &TableDef) -> TableDef {
    TableDef { format: Format::Json, ..table.clone() }
}

/// Bounded reads of the tables: of static ones, and of streams in batch.
#[derive(Debug)]
pub(super) struct GivenTables {
    pub(super) given: Arc<AllGiven>,
    /// Records that are not there: they were late.
    pub(super) left_out: BTreeSet<Place>,
}

#[async_trait]
impl SnapshotReader for GivenTables {
    async fn open(&self, table: Arc<TableDef>, columns: Vec<usize>) -> Result<SnapshotBatches> {
        let Some(partitions) = self.given.get(&table.name) else {
            return match table.is_stream() {
                true => Ok(stream::empty().boxed()),
                false => Err(no_rows(&table)),
            };
        };
        let mut decoder = TableDecoder::try_new(&as_json(&table), &columns, Clock::manual(Micros::MAX))?;
        for (partition, records) in partitions {
            for (offset, given) in (0..).zip(records) {
                if !self.left_out.contains(&(table.name.clone(), *partition, offset)) {
                    decoder.push(&record(*partition, offset, given))?;
                }
            }
        }
        let batches = decoder.finish(&Polled::default())?.batches;
        Ok(stream::iter(batches.into_iter().map(Ok)).boxed())
    }
}

fn no_rows(table: &TableDef) -> Error {
    Error::invalid(format!("the test has no rows of the static table \"{}\"", table.name))
        .hint(format!("write `rows {}` and rows below it, or nothing where there are none", table.name))
        .at(table.location.clone())
}
