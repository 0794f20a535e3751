//! Records and files of records: whatever they hold, each is rows or a dead letter, and what comes of them are whole columns.

use libtest_mimic::Failed;
use touchline::catalog::{Statement, TableDef};
use touchline::clock::Clock;
use touchline::decode::TableDecoder;
use touchline::error::{Error, ErrorKind};
use touchline::source::filesystem::open_batches;
use touchline::source::{Offset, Offsets, Polled, Record, SourceBatch};
use touchline::sql::{parse_file, report};

use super::{Input, Take, Target};

/// 2025-11-26T15:13:20Z
const NOW: i64 = 1_764_170_000_000_000;

const WORDS: &[&str] = &[
    "id", "text", "ts", "amount", "list", "inner", "events", "state", "many", "null", "true", "1.5", ",", ":", ";",
    "\"",
];

pub(super) static JSON: Target =
    Target { name: "json", claim: "no_record_of_json_panics", words: WORDS, mutants: 12_000, make: json };

pub(super) static CSV: Target =
    Target { name: "csv", claim: "no_file_of_csv_panics_packed_or_not", words: WORDS, mutants: 4_000, make: csv };

/// Of every type, with every clause that judges or makes a value.
const COLUMNS: &str = "
  id BIGINT NOT NULL, small TINYINT, big BIGINT UNSIGNED, text VARCHAR(20), state VARCHAR CHECK (state IN ('new', 'old')),
  ok BOOLEAN DEFAULT true, amount DECIMAL(12, 2), wide DECIMAL(38, 10), score DOUBLE, half REAL, born DATE, at TIME,
  ts TIMESTAMP(3) NOT NULL, seen TIMESTAMP_LTZ(9), code UUID, raw BYTEA,";

const NESTED: &str = "
  anything JSON, list VARCHAR[], numbers BIGINT[], inner STRUCT<a BIGINT, b STRUCT<c VARCHAR, d DOUBLE[]>>, many MAP<VARCHAR, BIGINT>,
  twice AS id * 2, part AS 100 / (small - 5),";

const WATERMARK: &str = "WATERMARK FOR ts AS ts - INTERVAL '5' SECOND";

fn table(text: &str) -> Result<TableDef, Failed> {
    match parse_file("t.sql", text).map_err(|errors| report(&errors))?.pop() {
        Some(Statement::CreateTable(table)) => Ok(table),
        _ => Err("the text declares no table".into()),
    }
}

fn json() -> Result<(Vec<Input>, Take), Failed> {
    let kafka = |columns: &str, options: &str| {
        table(&format!(
            "CREATE TABLE t ({columns}) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json'{options})"
        ))
    };
    let tables = [
        kafka(&format!("{COLUMNS}{NESTED}{WATERMARK}"), ", 'aliases.text' = 'note,words', 'on-null' = 'default'")?,
        kafka(
            &format!("id BIGINT NOT NULL, text VARCHAR, list VARCHAR[], ts TIMESTAMP(3), {WATERMARK}"),
            ", 'json.rows' = '$.events[*]', 'json.path.text' = '$.text', 'numbers-as-text' = 'text'",
        )?,
        kafka("id BIGINT NOT NULL, text VARCHAR", ", 'json.rows' = 'lines'")?,
    ];
    let mut decoders = Vec::new();
    for table in &tables {
        let columns: Vec<usize> = (0..table.columns.len()).collect();
        decoders.push(TableDecoder::try_new(table, &columns, Clock::manual(NOW)).map_err(|error| error.report())?);
    }
    let mut offset: Offset = 0;
    let take: Take = Box::new(move |input| {
        offset += 1;
        let value = Some(input.bytes.as_slice());
        let record = Record { partition: 0, offset, timestamp_ms: Some(NOW / 1_000), key: None, value, headers: None };
        for decoder in &mut decoders {
            refused(decoder.push(&record));
            if let Some(batch) = refused(decoder.finish(&Polled::default())) {
                is_whole(&batch);
            }
        }
    });
    Ok((Vec::new(), take))
}

fn csv() -> Result<(Vec<Input>, Take), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("t.csv");
    let file = path.display();
    let options = format!("'connector' = 'filesystem', 'path' = '{file}', 'format' = 'csv'");
    let table = table(&format!("CREATE TABLE t ({COLUMNS}{WATERMARK}) WITH ({options})"))?;
    let columns: Vec<usize> = (0..table.columns.len()).collect();
    let take: Take = Box::new(move |input| {
        if std::fs::write(folder.path().join("t.csv"), &input.bytes).is_err() {
            return;
        }
        let Some(mut reader) = refused(open_batches(&table, &columns, &Offsets::new(), Clock::manual(NOW))) else {
            return;
        };
        while let Some(batch) = refused(reader.next(8_192)) {
            is_whole(&batch);
            if batch.finished {
                return;
            }
        }
    });
    Ok((Vec::new(), take))
}

/// What it came to. Any refusal will do but the one that says that we are at fault.
pub(super) fn refused<T>(outcome: Result<T, Error>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) => {
            // As it is shown: a report may cut a text where it cannot be cut.
            let report = error.report();
            assert!(error.kind() != ErrorKind::Bug, "it is called a bug of ours: {report}");
            None
        }
    }
}

fn is_whole(batch: &SourceBatch) {
    for rows in &batch.batches {
        for column in rows.columns() {
            let checked = column.to_data().validate_full();
            assert!(checked.is_ok(), "a column is not what it says: {checked:?}");
        }
    }
}
