//! Nothing is lost and nothing doubled when the server is killed again and again: every row has a number, and all are counted.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use crate::process::{STREAM, Server, Site, append, hangups_are_ignored};
use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("restart::every_row_is_counted_once_after_eight_kills", &[], every_row_is_counted_once),
        trial("restart::a_hangup_has_users_read_anew_and_ends_nothing", &[], a_hangup),
        trial("restart::a_server_whose_log_nobody_reads_any_more_stops_in_order", &[], unheard),
    ]
}

const PARTITIONS: i32 = 4;
const PRODUCERS: u64 = 3;
/// Written before the first start, and again after each of the first kills.
const ROWS_AT_FIRST: u64 = 240_000;
const ROWS_BETWEEN: u64 = 30_000;
const KILLS: u64 = 8;
const KILLS_WITH_NEW_ROWS: u64 = 4;
const ROWS: u64 = ROWS_AT_FIRST + KILLS_WITH_NEW_ROWS * ROWS_BETWEEN;
/// Event time between two rows. Partitions take turns, so that none is ahead by more than the watermark's delay.
const MS_PER_ROW: u64 = 2;
/// 2026-01-01T00:00:00Z, and a multiple of the windows.
const START_MS: u64 = 1_767_225_600_000;
/// Of the moments at which the server is killed; printed, so that a failure can be repeated.
const SEED: u64 = 20_260_110;

const SCHEMA: &str = "\
CREATE TABLE e (producer BIGINT NOT NULL, seq BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json');
";
const KEPT: &str = "\
CREATE MATERIALIZED VIEW kept WITH ('primary-key' = 'producer, seq') AS SELECT producer, seq, ts FROM e;
";
const TUMBLED: &str = "\
CREATE MATERIALIZED VIEW tumbled WITH ('primary-key' = 'producer, window_start') AS
SELECT window_start, producer, count(*) AS n, sum(seq) AS s
FROM TUMBLE(e, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, producer;
";
const HOPPED: &str = "\
CREATE MATERIALIZED VIEW hopped WITH ('primary-key' = 'producer, window_start') AS
SELECT window_start, producer, count(*) AS n, sum(seq) AS s, count(DISTINCT seq) AS d
FROM HOP(e, ts, INTERVAL '5 seconds', INTERVAL '20 seconds') GROUP BY window_start, window_end, producer;
";

fn every_row_is_counted_once() -> Outcome {
    let site = Site::new()?;
    site.write("schemas/e.sql", SCHEMA)?;
    site.write("queries/kept.sql", KEPT)?;
    site.write("queries/tumbled.sql", TUMBLED)?;
    site.write("queries/hopped.sql", HOPPED)?;
    let mut moments = Moments(SEED);
    let mut written = 0;
    append_rows(&site, &mut written, ROWS_AT_FIRST)?;
    for kill in 0..KILLS {
        let server = serve(&site)?;
        // The test's subject is a kill at any moment, so this is a moment and not a wait for something.
        std::thread::sleep(moments.next());
        server.kill()?;
        if kill < KILLS_WITH_NEW_ROWS {
            append_rows(&site, &mut written, ROWS_BETWEEN)?;
        }
    }
    assert_eq!(written, ROWS);
    close_windows(&site)?;

    let server = serve(&site)?;
    let closing = PARTITIONS as u64;
    server.wait_for("all rows", |server| {
        let kept = number(server, "SELECT count(*) AS n FROM kept")?;
        let tumbled = number(server, "SELECT sum(n) AS n FROM tumbled")?;
        let hopped = number(server, "SELECT sum(n) AS n FROM hopped")?;
        Ok((kept >= ROWS + closing && tumbled >= ROWS && hopped >= 4 * ROWS).then_some(()))
    })?;
    let sum: u64 = (0..ROWS).map(|row| row / PRODUCERS).sum();
    let one = |sql: &str| -> Result<Value, Failed> { server.query(sql)?.pop().ok_or_else(|| "no row".into()) };
    assert_eq!(
        one(
            "SELECT count(*) AS n, count(DISTINCT producer * 1000000000 + seq) AS d, sum(seq) AS s FROM kept WHERE producer >= 0"
        )?,
        serde_json::json!({ "n": ROWS, "d": ROWS, "s": sum }),
        "seed {SEED}"
    );
    assert_eq!(
        one(
            "SELECT sum(n) AS n, sum(s) AS s, count(*) = count(DISTINCT producer * 100000000000000 + CAST(window_start AS BIGINT)) AS once FROM tumbled"
        )?,
        serde_json::json!({ "n": ROWS, "s": sum, "once": true }),
        "seed {SEED}"
    );
    assert_eq!(
        one("SELECT sum(n) AS n, sum(s) AS s, sum(d) AS d FROM hopped")?,
        serde_json::json!({ "n": 4 * ROWS, "s": 4 * sum, "d": 4 * ROWS }),
        "seed {SEED}"
    );
    assert_eq!(number(&server, "SELECT sum(rows_late) AS n FROM touchline.queries")?, 0);

    server.wait_for("all rows to be sealed", |server| {
        Ok((number(server, "SELECT sum(tail_rows) AS n FROM touchline.queries")? == 0).then_some(()))
    })?;
    let (status, took, log) = server.terminate()?;
    assert!(status.success(), "{status}\n{log}");
    assert!(took < Duration::from_secs(10), "it took {took:?} to stop");
    assert_eq!(rows_in_files(&site.path("touchline-data/tables/kept"))?, ROWS + closing, "seed {SEED}");
    Ok(())
}

fn a_hangup() -> Outcome {
    if hangups_are_ignored()? {
        return Ok(());
    }
    let site = Site::new()?;
    site.write("schemas/e.sql", STREAM)?;
    site.write("queries/kept.sql", "CREATE MATERIALIZED VIEW kept AS SELECT id, ts FROM e;\n")?;
    let record = |id: i64| format!("{{\"id\":{id},\"ts\":\"2026-01-01T00:00:00Z\"}}");
    append(&*site.embedded_log()?, "e", 0, &(0..10).map(record).collect::<Vec<_>>())?;
    // No checkpoint is due while the test runs: what the second server shows is of the one that the stop made.
    let settings = [("TOUCHLINE_ENGINE_CHECKPOINT_INTERVAL", "10m")];
    let server = site.serve(&settings)?;
    server.wait_for("the rows to be taken", |server| {
        Ok((number(server, "SELECT sum(rows_in) AS n FROM touchline.queries")? == 10).then_some(()))
    })?;
    server.hang_up()?;
    assert_eq!(number(&server, "SELECT sum(rows_in) AS n FROM touchline.queries")?, 10);
    let (status, _, log) = server.terminate()?;
    assert!(status.success(), "{status}\n{log}");
    let server = site.serve(&settings)?;
    assert_eq!(number(&server, "SELECT count(*) AS n FROM kept")?, 10);
    let (status, _, log) = server.terminate()?;
    assert!(status.success(), "{status}\n{log}");
    Ok(())
}

fn unheard() -> Outcome {
    let site = Site::new()?;
    site.write("schemas/e.sql", STREAM)?;
    site.write("queries/kept.sql", "CREATE MATERIALIZED VIEW kept AS SELECT id, ts FROM e;\n")?;
    let (status, _, log) = site.serve_unheard()?.terminate()?;
    assert!(status.success(), "{status}\n{log}");
    Ok(())
}

fn serve(site: &Site) -> Result<Server, Failed> {
    site.serve(&[("TOUCHLINE_ENGINE_SEAL_AGE", "1s"), ("TOUCHLINE_ENGINE_CHECKPOINT_INTERVAL", "50ms")])
}

/// 50 to 1,250 ms each, the same for the same seed (splitmix64).
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Duration::from_millis(50 + (mixed ^ (mixed >> 31)) % 1_200)
    }
}

/// Appends the next rows while no server has the log open.
fn append_rows(site: &Site, written: &mut u64, rows: u64) -> Outcome {
    let records: Vec<(u64, String)> = (*written..*written + rows)
        .map(|row| (row, record((row % PRODUCERS) as i64, row / PRODUCERS, START_MS + row * MS_PER_ROW)))
        .collect();
    *written += rows;
    let log = site.embedded_log()?;
    for chunk in records.chunks(8_000) {
        for partition in 0..PARTITIONS {
            let of_partition = chunk.iter().filter(|(row, _)| (row / 7) % PARTITIONS as u64 == partition as u64);
            append(&log, "e", partition, &of_partition.map(|(_, text)| text).collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// One row an hour later in each partition: every window before it closes.
fn close_windows(site: &Site) -> Outcome {
    let log = site.embedded_log()?;
    for partition in 0..PARTITIONS {
        let text = record(-1, partition as u64, START_MS + ROWS * MS_PER_ROW + 3_600_000);
        append(&log, "e", partition, &[text])?;
    }
    Ok(())
}

fn record(producer: i64, seq: u64, ms: u64) -> String {
    let (seconds, ms) = ((ms - START_MS) / 1_000, ms % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!(
        "{{\"producer\":{producer},\"seq\":{seq},\"ts\":\"2026-01-01T{hour:02}:{minute:02}:{second:02}.{ms:03}Z\"}}"
    )
}

/// The column `n` of the only row.
fn number(server: &Server, sql: &str) -> Result<u64, Failed> {
    let rows = server.query(sql)?;
    rows.first().and_then(|row| row["n"].as_u64()).ok_or_else(|| format!("{sql} answers {rows:?}").into())
}

/// Rows of all public files below a folder, by their footers.
fn rows_in_files(folder: &Path) -> Result<u64, Failed> {
    let mut rows = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            rows += rows_in_files(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            rows += SerializedFileReader::new(File::open(&path)?)?.metadata().file_metadata().num_rows() as u64;
        }
    }
    Ok(rows)
}
