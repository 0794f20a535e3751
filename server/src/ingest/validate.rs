//! Whether records are rows: judged by the decoder that reads them later, with all columns of their table.
//!
//! A topic may have several tables. What a table takes by HTTP has to be a row of those that do not, too: these are the ones that
//! queries read, and what is accepted must never be a dead letter there.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use parking_lot::Mutex;

use crate::catalog::{OnBadRow, TableDef};
use crate::clock::{Clock, Micros, micros_of};
use crate::config::duration;
use crate::decode::TableDecoder;
use crate::error::Result;
use crate::source::{Offset, Polled, Record};

/// What a broker takes by default, less what it puts around a record.
const RECORD_BYTES_MAX: usize = 900_000;
/// Decoders that wait for the next request. More requests at a time make their own.
const IDLE_MAX: usize = 8;

/// What is said of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// `key`, `id`: the text of the columns that the table names for them.
    Right {
        key: Option<String>,
        id: Option<String>,
    },
    Wrong {
        field: Option<String>,
        reason: String,
    },
}

/// Judges the records of one table.
#[derive(Debug)]
pub(super) struct Validator {
    /// The table itself first.
    tables: Vec<Judge>,
    has_key: bool,
    clock: Clock,
}

struct Judge {
    /// As it was published.
    published: Arc<TableDef>,
    /// The same, keeping what is bad.
    def: TableDef,
    columns: Vec<usize>,
    key: Option<usize>,
    id: Option<usize>,
    /// Of the event time, and how far it may be ahead of the clock.
    time: Option<(usize, Micros)>,
    idle: Mutex<Vec<Decoder>>,
    clock: Clock,
}

struct Decoder {
    decoder: TableDecoder,
    /// Numbers go on from request to request, as those of a topic do.
    next: Offset,
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").field("table", &self.def.name).finish_non_exhaustive()
    }
}

impl Validator {
    /// `others`: the other tables of the topic whose rows the records have to be.
    ///
    /// # Errors
    /// `Invalid` for a column whose type is not decoded.
    pub(super) fn try_new(table: &Arc<TableDef>, others: &[Arc<TableDef>], clock: &Clock) -> Result<Self> {
        let tables = std::iter::once(table).chain(others).map(|table| Judge::try_new(table, clock.clone()));
        let has_key = table.http.as_ref().is_some_and(|http| http.key.is_some());
        Ok(Validator { tables: tables.collect::<Result<_>>()?, has_key, clock: clock.clone() })
    }

    /// Whether it was made of these definitions.
    pub(super) fn is_of(&self, table: &Arc<TableDef>, others: &[Arc<TableDef>]) -> bool {
        self.tables.len() == others.len() + 1
            && self.tables.iter().zip(std::iter::once(table).chain(others)).all(|(a, b)| Arc::ptr_eq(&a.published, b))
    }

    /// A verdict on each record. `places`: of the records in `body`.
    ///
    /// # Errors
    /// `Bug` alone: what is wrong about a record is its verdict.
    pub(super) fn judge(&self, body: &[u8], places: &[Range<usize>]) -> Result<Vec<Verdict>> {
        let size = |place: &Range<usize>| match place.len() > RECORD_BYTES_MAX {
            false => Verdict::Right { key: None, id: None },
            true => Verdict::Wrong {
                field: None,
                reason: format!("the record has {} bytes; the limit is {RECORD_BYTES_MAX}", place.len()),
            },
        };
        let mut verdicts = places.iter().map(size).collect::<Vec<_>>();
        let now = self.clock.now();
        for (at, table) in self.tables.iter().enumerate() {
            let before = if at == 0 { String::new() } else { format!("as a row of {}: ", table.def.name) };
            table.judge(body, places, self.has_key, now, &before, &mut verdicts)?;
        }
        for (place, verdict) in places.iter().zip(&mut verdicts) {
            // Kafka counts both, and what it refuses for its size would be sent again for ever.
            if let Verdict::Right { key: Some(key), .. } = verdict
                && place.len() + key.len() > RECORD_BYTES_MAX
            {
                let bytes = place.len() + key.len();
                let reason = format!("the record and its key have {bytes} bytes; the limit is {RECORD_BYTES_MAX}");
                *verdict = Verdict::Wrong { field: None, reason };
            }
        }
        Ok(verdicts)
    }
}

impl Judge {
    fn try_new(published: &Arc<TableDef>, clock: Clock) -> Result<Self> {
        let def = TableDef { on_bad_row: OnBadRow::DeadLetter, ..published.as_ref().clone() };
        let http = def.http.as_ref();
        let named = |name: Option<&String>| name.and_then(|name| def.column_index(name));
        let time = def
            .watermark
            .as_ref()
            .and_then(|watermark| Some((def.column_index(&watermark.column)?, micros_of(watermark.max_future))));
        let judge = Judge {
            columns: (0..def.columns.len()).collect(),
            key: named(http.and_then(|http| http.key.as_ref())),
            id: named(http.and_then(|http| http.id.as_ref())),
            time,
            idle: Mutex::new(Vec::new()),
            clock,
            published: Arc::clone(published),
            def,
        };
        let first = judge.decoder()?;
        judge.idle.lock().push(first);
        Ok(judge)
    }

    fn decoder(&self) -> Result<Decoder> {
        let decoder = TableDecoder::try_new(&self.def, &self.columns, self.clock.clone())?;
        Ok(Decoder { decoder, next: 0 })
    }

    /// `before`: what reasons begin with. Records that are wrong already are left out.
    fn judge(
        &self,
        body: &[u8],
        places: &[Range<usize>],
        has_key: bool,
        now: Micros,
        before: &str,
        verdicts: &mut [Verdict],
    ) -> Result<()> {
        let idle = self.idle.lock().pop();
        let mut decoder = idle.map_or_else(|| self.decoder(), Ok)?;
        let first = decoder.next;
        for (index, place) in places.iter().enumerate() {
            if matches!(verdicts[index], Verdict::Wrong { .. }) {
                continue;
            }
            decoder.decoder.push(&Record {
                partition: 0,
                offset: first + index as Offset,
                timestamp_ms: Some(now / 1_000),
                // Which one it is does not matter to a row.
                key: has_key.then_some(&b""[..]),
                value: Some(&body[place.clone()]),
                headers: None,
            })?;
        }
        decoder.next = first + places.len() as Offset;
        let found = decoder.decoder.finish(&Polled::default())?;
        {
            let mut idle = self.idle.lock();
            if idle.len() < IDLE_MAX {
                idle.push(decoder);
            }
        }
        let index_of = |offset: Offset| usize::try_from(offset - first).ok().filter(|index| *index < places.len());
        for dead in found.dead_letters {
            if let Some(index) = dead.offset.and_then(index_of)
                && matches!(verdicts[index], Verdict::Right { .. })
            {
                verdicts[index] = Verdict::Wrong { field: dead.column, reason: format!("{before}{}", dead.reason) };
            }
        }
        for (batch, origins) in found.batches.iter().zip(&found.origins) {
            let (keys, ids) = (texts(batch, self.key)?, texts(batch, self.id)?);
            let ahead = self.ahead(batch, now)?;
            for row in 0..batch.num_rows() {
                let Some(index) = origins.of(row).and_then(|(_, offset, _)| index_of(offset)) else { continue };
                let Verdict::Right { key, id } = &mut verdicts[index] else { continue };
                if let Some(keys) = &keys {
                    *key = keys.is_valid(row).then(|| keys.value(row).to_owned());
                }
                if let Some(ids) = &ids {
                    *id = ids.is_valid(row).then(|| ids.value(row).to_owned());
                }
                if ahead.get(row).is_some_and(|ahead| *ahead) {
                    verdicts[index] = self.too_early(before);
                }
            }
        }
        Ok(())
    }

    /// Which rows have a time so far ahead that it would move no watermark, and might open more windows than a query takes.
    fn ahead(&self, batch: &RecordBatch, now: Micros) -> Result<Vec<bool>> {
        let Some((column, max_future)) = self.time else { return Ok(Vec::new()) };
        let column = batch.column(column);
        let DataType::Timestamp(_, zone) = column.data_type() else { return Ok(Vec::new()) };
        let times = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
        let latest = now.saturating_add(max_future);
        Ok(times
            .as_primitive::<TimestampMicrosecondType>()
            .iter()
            .map(|time| time.is_some_and(|time| time > latest))
            .collect())
    }

    fn too_early(&self, before: &str) -> Verdict {
        let watermark = self.def.watermark.as_ref();
        let (column, most) = watermark.map_or(("", String::new()), |watermark| {
            (watermark.column.as_str(), duration::format(watermark.max_future))
        });
        Verdict::Wrong {
            field: Some(column.to_owned()),
            reason: format!("{before}field \"{column}\" is more than {most} ahead of the server's clock"),
        }
    }
}

/// The values of a column as texts.
fn texts(batch: &RecordBatch, column: Option<usize>) -> Result<Option<StringArray>> {
    let Some(column) = column else { return Ok(None) };
    let cast = cast(batch.column(column), &DataType::Utf8)?;
    Ok(Some(cast.as_string::<i32>().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{HttpBody, Statement};
    use crate::ingest::records::{Written, places};
    use crate::sql::parse_file;

    /// 2026-01-01T12:00:00Z
    const NOW: Micros = 1_767_268_800_000_000;

    fn table(text: &str) -> Arc<TableDef> {
        let statements = parse_file("t.sql", text).unwrap_or_else(|errors| panic!("{}", errors[0].report()));
        match statements.into_iter().next() {
            Some(Statement::CreateTable(table)) => Arc::new(table),
            other => panic!("{other:?}"),
        }
    }

    fn orders() -> Arc<TableDef> {
        table(
            "CREATE TABLE orders (id UUID NOT NULL, n INT NOT NULL CHECK (n BETWEEN 1 AND 9), note VARCHAR(3),
               twice AS 10 / (n - 5), at TIMESTAMP(3) NOT NULL, k BYTEA NOT NULL METADATA FROM 'key' VIRTUAL, WATERMARK FOR at AS at)
             WITH ('connector' = 'kafka', 'topic' = 'o', 'watermark-max-future' = '1 minute', 'on-bad-row' = 'fail',
               'http.ingest' = 'true', 'http.key' = 'n', 'http.id' = 'id', 'aliases.at' = 'when')",
        )
    }

    fn judged(validator: &Validator, body: &str) -> Vec<Verdict> {
        let places = places(body.as_bytes(), Written::Lines, &HttpBody::Records, 100).unwrap();
        validator.judge(body.as_bytes(), &places).unwrap_or_else(|error| panic!("{}", error.report()))
    }

    const ID: &str = "00000000-0000-0000-0000-00000000000a";

    fn order(rest: &str) -> String {
        format!("{{\"id\":\"{ID}\",{rest}}}\n")
    }

    #[test]
    fn each_record_is_judged_by_itself_and_named_by_its_place() {
        let validator = Validator::try_new(&orders(), &[], &Clock::manual(NOW)).unwrap();
        let right = Verdict::Right { key: Some("7".into()), id: Some(ID.into()) };
        // Twice: a decoder that is used again goes on where it was.
        for _ in 0..2 {
            let body = [
                order("\"n\":7,\"at\":\"2026-01-01T11:00:00Z\""),
                order("\"n\":12,\"at\":\"2026-01-01T11:00:00Z\""),
                "nonsense\n".to_owned(),
                order("\"n\":7,\"when\":\"yesterday\""),
                order("\"n\":7,\"note\":\"long\",\"at\":\"2026-01-01T11:00:00Z\""),
                order("\"n\":5,\"at\":\"2026-01-01T11:00:00Z\""),
                order("\"n\":7,\"at\":\"2026-01-01T12:02:00Z\""),
                order("\"n\":7,\"when\":\"2026-01-01T12:00:30Z\",\"more\":[{}]"),
                order("\"n\":7"),
            ]
            .concat();
            let verdicts = judged(&validator, &body);
            let fields: Vec<Option<&str>> = verdicts
                .iter()
                .map(|verdict| match verdict {
                    Verdict::Right { .. } => Some("right"),
                    Verdict::Wrong { field, .. } => field.as_deref(),
                })
                .collect();
            let expected = [
                Some("right"),
                Some("n"),
                None,
                Some("at"),
                Some("note"),
                Some("twice"),
                Some("at"),
                Some("right"),
                Some("at"),
            ];
            assert_eq!(fields, expected, "{verdicts:#?}");
            assert_eq!([&verdicts[0], &verdicts[7]], [&right, &right]);
            let Verdict::Wrong { reason, .. } = &verdicts[6] else { panic!("{verdicts:?}") };
            assert_eq!(reason, "field \"at\" is more than 1m ahead of the server's clock");
        }
    }

    #[test]
    fn a_record_has_to_be_a_row_of_the_tables_that_queries_read() {
        let read = table("CREATE TABLE read (n BIGINT, note INT) WITH ('connector' = 'kafka', 'topic' = 'o')");
        let (orders, clock) = (orders(), Clock::manual(NOW));
        let others = [read];
        let validator = Validator::try_new(&orders, &others, &clock).unwrap();
        let verdicts = judged(&validator, &order("\"n\":7,\"note\":\"a\",\"at\":\"2026-01-01T11:00:00Z\""));
        let [Verdict::Wrong { field, reason }] = verdicts.as_slice() else { panic!("{verdicts:?}") };
        assert_eq!(field.as_deref(), Some("note"));
        assert!(reason.starts_with("as a row of read: "), "{reason}");
        assert!(validator.is_of(&orders, &others) && !validator.is_of(&orders, &[]));
        assert!(!validator.is_of(&self::orders(), &others), "it was defined anew");
    }

    #[test]
    fn a_record_that_no_broker_takes_is_wrong() {
        let validator = Validator::try_new(&orders(), &[], &Clock::manual(NOW)).unwrap();
        let body =
            order(&format!("\"n\":7,\"at\":\"2026-01-01T11:00:00Z\",\"x\":\"{}\"", "x".repeat(RECORD_BYTES_MAX)));
        let verdicts = judged(&validator, &body);
        assert!(matches!(&verdicts[0], Verdict::Wrong { reason, .. } if reason.ends_with("the limit is 900000")));
    }

    #[test]
    fn a_key_counts_in_the_size_of_a_record() {
        let table = table(
            "CREATE TABLE o (name VARCHAR NOT NULL) WITH ('connector' = 'kafka', 'topic' = 'o', 'http.ingest' = 'true', 'http.key' = 'name')",
        );
        let validator = Validator::try_new(&table, &[], &Clock::manual(NOW)).unwrap();
        let name = |bytes: usize| format!("{{\"name\":\"{}\"}}\n", "x".repeat(bytes));
        let verdicts = judged(&validator, &[name(440_000), name(460_000)].concat());
        assert!(matches!(&verdicts[0], Verdict::Right { .. }));
        assert!(matches!(&verdicts[1], Verdict::Wrong { reason, .. } if reason.contains("and its key have 920")));
    }
}
