//! What decodes for a shared reader: one decoder, or several on as many threads, among which a large poll is divided by partition.
//!
//! A poll hands out one record after the other, and each is gone with the next. So where there are several decoders its records are kept
//! until it ends. A poll of little goes through one of them: threads would cost more than they spare, and so would further batches.

use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

use crate::catalog::{ColumnKind, MetadataKey, TableDef};
use crate::decode::{Doubtful, TableDecoder};
use crate::error::{Error, Result};
use crate::source::reader::finish;
use crate::source::{Offset, Offsets, Partition, Polled, Record, SourceBatch};

/// Bytes of records that are worth a thread: about a millisecond of decoding, beside some 30 µs until a thread runs.
const APART_FROM: usize = if cfg!(test) { 256 } else { 256 << 10 };

/// Threads for one table. What fetches and hands on is one thread, and does not keep up with many more.
const THREADS_MAX: usize = 8;

/// See the module's first lines.
pub(in crate::source) struct Decoders {
    first: TableDecoder,
    /// Like the first, and each with the positions of all partitions.
    others: Vec<TableDecoder>,
    kept: Kept,
    /// Whether the batch under construction is divided among them, as its first records say. Else the order within a partition would depend
    /// on which decoder comes first.
    apart: Option<bool>,
}

impl Decoders {
    pub(in crate::source) fn of(first: TableDecoder, others: Vec<TableDecoder>) -> Self {
        Decoders { first, others, kept: Kept::default(), apart: None }
    }

    /// How many are of use for a table of so many partitions.
    pub(in crate::source) fn wanted(def: &TableDef, partitions: usize) -> usize {
        let reads_headers =
            def.columns.iter().any(|column| matches!(column.kind, ColumnKind::Metadata(MetadataKey::Headers)));
        // A record's headers are not kept.
        if reads_headers {
            return 1;
        }
        let cores = thread::available_parallelism().map_or(1, usize::from);
        partitions.min(cores).clamp(1, THREADS_MAX)
    }

    fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// Takes one record of a poll, in the order of the source.
    ///
    /// # Errors
    /// As [`TableDecoder::push`].
    pub(in crate::source) fn push(&mut self, record: &Record<'_>) -> Result<()> {
        if self.others.is_empty() {
            return self.first.push(record);
        }
        self.kept.push(record);
        Ok(())
    }

    /// The poll has ended.
    ///
    /// # Errors
    /// As [`TableDecoder::push`]; `Unavailable` where no thread can be started. Nothing of this batch should be used then.
    pub(in crate::source) fn decode(&mut self) -> Result<()> {
        if self.kept.records.is_empty() {
            return Ok(());
        }
        let mut kept = std::mem::take(&mut self.kept);
        let is_much = kept.bytes.len() >= APART_FROM;
        match *self.apart.get_or_insert(is_much) {
            true => self.decode_apart(&kept)?,
            false => kept.records().try_for_each(|record| self.first.push(&record))?,
        }
        // The room of a large poll is given back.
        if !is_much {
            kept.clear();
            self.kept = kept;
        }
        Ok(())
    }

    fn decode_apart(&mut self, kept: &Kept) -> Result<()> {
        let count = self.count();
        let (first, others) = (&mut self.first, &mut self.others);
        thread::scope(|scope| {
            let mut begun = Vec::with_capacity(others.len());
            for (nth, decoder) in (1..).zip(others.iter_mut()) {
                let run = move || kept.share(nth, count).try_for_each(|record| decoder.push(&record));
                let thread = thread::Builder::new().name("decode".to_owned()).spawn_scoped(scope, run);
                begun.push(
                    thread.map_err(|error| {
                        Error::unavailable("cannot start a thread to decode records").caused_by(error)
                    })?,
                );
            }
            let own = kept.share(0, count).try_for_each(|record| first.push(&record));
            let ended = begun.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            ended.fold(own, |outcome, other| outcome.and(other))
        })
    }

    /// Rows of the batch under construction.
    pub(in crate::source) fn rows(&self) -> usize {
        self.first.rows() + self.others.iter().map(TableDecoder::rows).sum::<usize>()
    }

    /// Roughly what it occupies, in bytes.
    pub(in crate::source) fn bytes(&self) -> usize {
        self.first.bytes() + self.others.iter().map(TableDecoder::bytes).sum::<usize>() + self.kept.bytes.len()
    }

    /// As [`finish`], of all together.
    ///
    /// # Errors
    /// As [`TableDecoder::finish`].
    pub(in crate::source) fn finish(&mut self, polled: &Polled) -> Result<(SourceBatch, Vec<Doubtful>)> {
        let (apart, count) = (self.apart.take() == Some(true), self.count());
        let (mut batch, mut doubtful) = finish(&mut self.first, polled)?;
        for (nth, decoder) in (1..).zip(&mut self.others) {
            let (other, of_other) = finish(decoder, polled)?;
            if !apart {
                continue;
            }
            batch.progress.extend(other.progress.into_iter().filter(|(of, _)| nth_of(*of, count) == nth));
            batch.batches.extend(other.batches);
            batch.origins.extend(other.origins);
            batch.dead_letters.extend(other.dead_letters);
            batch.empty_at.extend(other.empty_at);
            batch.extra_rows += other.extra_rows;
            batch.empty_records += other.empty_records;
            batch.bytes += other.bytes;
            doubtful.extend(of_other);
        }
        // The next batch of a partition may be another one's.
        let positions: Offsets = batch.progress.iter().map(|(of, progress)| (*of, progress.to)).collect();
        for decoder in &mut self.others {
            decoder.start_at(&positions);
        }
        self.first.start_at(&positions);
        Ok((batch, doubtful))
    }
}

/// Which of so many decoders has a partition.
fn nth_of(partition: Partition, count: usize) -> usize {
    usize::try_from(partition).unwrap_or(0) % count
}

/// The records of one poll, without their headers, in one piece of memory.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    records: Vec<Stored>,
}

struct Stored {
    partition: Partition,
    offset: Offset,
    timestamp_ms: Option<i64>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

impl Kept {
    fn push(&mut self, record: &Record<'_>) {
        let mut copied = |part: Option<&[u8]>| {
            let part = part?;
            let start = self.bytes.len();
            self.bytes.extend_from_slice(part);
            Some(start..self.bytes.len())
        };
        let (key, value) = (copied(record.key), copied(record.value));
        let Record { partition, offset, timestamp_ms, .. } = *record;
        self.records.push(Stored { partition, offset, timestamp_ms, key, value });
    }

    fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let part = |range: &Option<Range<usize>>| range.clone().and_then(|range| self.bytes.get(range));
        self.records.iter().map(move |stored| Record {
            partition: stored.partition,
            offset: stored.offset,
            timestamp_ms: stored.timestamp_ms,
            key: part(&stored.key),
            value: part(&stored.value),
            headers: None,
        })
    }

    /// Those of the partitions that are the `nth` decoder's of `count`.
    fn share(&self, nth: usize, count: usize) -> impl Iterator<Item = Record<'_>> {
        self.records().filter(move |record| nth_of(record.partition, count) == nth)
    }

    /// Forgets all, and keeps its room.
    fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::catalog::Statement;
    use crate::clock::Clock;
    use crate::sql::parse_file;

    const PARTITIONS: Partition = 5;

    fn table(columns: &str) -> TableDef {
        let text = format!("CREATE TABLE t ({columns}) WITH ('connector' = 'kafka', 'topic' = 't')");
        match parse_file("t.sql", &text).expect("it parses").pop() {
            Some(Statement::CreateTable(table)) => table,
            other => panic!("no table: {other:?}"),
        }
    }

    fn decoders(count: usize) -> Decoders {
        let def = table("id BIGINT NOT NULL");
        let one = || TableDecoder::try_new(&def, &[0], Clock::manual(0)).unwrap().for_several();
        Decoders::of(one(), (1..count).map(|_| one()).collect())
    }

    /// What came of each partition: offsets with values, those in doubt, and the ranges of the batches.
    #[derive(Debug, Default, PartialEq)]
    struct Got {
        rows: BTreeMap<Partition, Vec<(Offset, i64)>>,
        doubtful: BTreeMap<Partition, Vec<Offset>>,
        ranges: BTreeMap<Partition, Vec<(Offset, Offset, u64)>>,
    }

    impl Got {
        fn add(&mut self, (batch, doubtful): (SourceBatch, Vec<Doubtful>)) {
            for (rows, origins) in batch.batches.iter().zip(&batch.origins) {
                for (row, id) in rows.column(0).as_primitive::<Int64Type>().values().iter().enumerate() {
                    let (partition, offset, _) = origins.of(row).unwrap();
                    self.rows.entry(partition).or_default().push((offset, *id));
                }
            }
            for record in doubtful {
                self.doubtful.entry(record.partition).or_default().push(record.offset);
            }
            for (partition, progress) in batch.progress {
                let range = (progress.from, progress.to, progress.records);
                self.ranges.entry(partition).or_default().push(range);
            }
        }
    }

    /// Batches of one poll or two, of little or of much: from and to which record each, in turn for the partitions.
    fn read(mut decoders: Decoders) -> Got {
        let (mut got, mut next) = (Got::default(), 0);
        let mut at: Offsets = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
        for polls in [&[3][..], &[400], &[2, 300], &[300, 2], &[0], &[7, 0, 90], &[1]] {
            for records in polls {
                for id in next..next + records {
                    let partition = id * 7 % i64::from(PARTITIONS);
                    let partition = Partition::try_from(partition).unwrap();
                    let text = if id % 11 == 0 { "{}".to_owned() } else { format!("{{\"id\":{id}}}") };
                    let (value, offset) = (Some(text.as_bytes()), at[&partition]);
                    let record = Record { partition, offset, timestamp_ms: None, key: None, value, headers: None };
                    decoders.push(&record).unwrap();
                    at.insert(partition, offset + 1);
                }
                next += records;
                decoders.decode().unwrap();
            }
            // A position can be beyond the last record.
            at.values_mut().for_each(|offset| *offset += 1);
            let polled = Polled { positions: at.clone(), ends: at.clone(), ..Polled::default() };
            got.add(decoders.finish(&polled).unwrap());
            assert_eq!((decoders.rows(), decoders.bytes()), (0, 0));
        }
        got
    }

    #[test]
    fn several_give_of_each_partition_what_one_gives_in_its_order() {
        let one = read(decoders(1));
        assert!(one.rows.values().all(|rows| rows.len() > 100) && one.doubtful.len() == PARTITIONS as usize);
        for count in [2, 3, 8] {
            assert_eq!(read(decoders(count)), one, "{count} decoders");
        }
    }

    #[test]
    fn there_are_no_more_than_partitions_and_one_where_headers_are_read() {
        let plain = table("id BIGINT");
        assert_eq!((Decoders::wanted(&plain, 0), Decoders::wanted(&plain, 1)), (1, 1));
        assert!((1..=THREADS_MAX).contains(&Decoders::wanted(&plain, 1_000)));
        let headers = table("id BIGINT, headers STRUCT<key VARCHAR, value BYTEA>[] METADATA");
        assert_eq!(Decoders::wanted(&headers, 1_000), 1);
    }
}
