//! Views over views on a real server: nothing is lost and nothing doubled on the way up, also where the server is killed again and again, a
//! view comes when the others have long run, or one below fails and is mended.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::process::{Server, Site, append};
use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("chained_views::every_row_goes_once_up_a_chain_of_three_that_is_killed_six_times", &[], killed),
        trial(
            "chained_views::a_view_that_fails_is_waited_for_by_the_one_above_until_it_is_mended",
            &[],
            failed_and_mended,
        ),
    ]
}

const PARTITIONS: u64 = 4;
const ROWS_AT_FIRST: u64 = 60_000;
const ROWS_BETWEEN: u64 = 10_000;
const KILLS: u64 = 6;
const ROWS: u64 = ROWS_AT_FIRST + KILLS * ROWS_BETWEEN;
/// Event time between two rows: 20 minutes in all.
const MS_PER_ROW: u64 = 10;

const SCHEMA: &str = "\
CREATE TABLE e (id BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json');
";
const KEPT: &str = "CREATE MATERIALIZED VIEW kept AS SELECT id, id % 3 AS k, ts FROM e;\n";
const TENS: &str = "\
CREATE MATERIALIZED VIEW tens AS
SELECT window_start, window_end, k, count(*) AS n, sum(id) AS s FROM TUMBLE(kept, ts, INTERVAL '10 seconds')
GROUP BY window_start, window_end, k;
";
const MINUTES: &str = "\
CREATE MATERIALIZED VIEW minutes AS
SELECT tumble(window_start, INTERVAL '1 minute') AS w, count(*) AS windows, sum(n) AS n, sum(s) AS s FROM tens GROUP BY w;
";
/// Comes when the others have run and sealed.
const LATER: &str = "\
CREATE MATERIALIZED VIEW later AS
SELECT window_start, window_end, count(*) AS ks, sum(n) AS n, sum(s) AS s FROM tens GROUP BY window_start, window_end;
";

fn killed() -> Outcome {
    let site = Site::new()?;
    site.write("schemas/e.sql", SCHEMA)?;
    for (file, text) in [("kept", KEPT), ("tens", TENS), ("minutes", MINUTES)] {
        site.write(&format!("queries/{file}.sql"), text)?;
    }
    let mut written = 0;
    append_rows(&site, &mut written, ROWS_AT_FIRST)?;
    for kill in 0..KILLS {
        let server = serve(&site)?;
        // The test's subject is a kill at any moment, so this is a moment and not a wait for something.
        std::thread::sleep(Duration::from_millis(100 + 170 * kill % 900));
        server.kill()?;
        append_rows(&site, &mut written, ROWS_BETWEEN)?;
    }
    assert_eq!(written, ROWS);
    {
        // One row an hour later in each partition: every window before it closes.
        let log = site.embedded_log()?;
        for partition in 0..PARTITIONS {
            append(&log, "e", partition as i32, &[record(ROWS + partition, ROWS * MS_PER_ROW + 3_600_000)])?;
        }
    }
    let server = serve(&site)?;
    server.wait_for("all rows", |server| {
        Ok((number(server, "SELECT sum(n) AS n FROM minutes")? >= ROWS).then_some(()))
    })?;
    server.wait_for("rows to be sealed", |server| {
        Ok((number(server, "SELECT sum(sealed_files) AS n FROM touchline.queries WHERE name = 'tens'")? > 0)
            .then_some(()))
    })?;
    site.write("queries/later.sql", LATER)?;
    server.wait_for("the later view", |server| {
        Ok((number(server, "SELECT sum(n) AS n FROM later")? >= ROWS).then_some(()))
    })?;
    let sum = ROWS * (ROWS - 1) / 2;
    let one = |sql: &str| -> Result<Value, Failed> { server.query(sql)?.pop().ok_or_else(|| "no row".into()) };
    assert_eq!(
        one(&format!("SELECT count(*) AS n, count(DISTINCT id) AS d, sum(id) AS s FROM kept WHERE id < {ROWS}"))?,
        json!({ "n": ROWS, "d": ROWS, "s": sum })
    );
    let windows = ROWS * MS_PER_ROW / 10_000;
    assert_eq!(
        one("SELECT count(*) AS w, sum(n) AS n, sum(s) AS s FROM tens")?,
        json!({ "w": 3 * windows, "n": ROWS, "s": sum })
    );
    assert_eq!(
        one("SELECT count(*) AS w, sum(windows) AS windows, sum(n) AS n, sum(s) AS s FROM minutes")?,
        json!({ "w": windows / 6, "windows": 3 * windows, "n": ROWS, "s": sum })
    );
    assert_eq!(
        one("SELECT count(*) AS w, min(ks) AS ks, sum(n) AS n, sum(s) AS s FROM later")?,
        json!({ "w": windows, "ks": 3, "n": ROWS, "s": sum })
    );
    assert_eq!(number(&server, "SELECT sum(rows_late) AS n FROM touchline.queries")?, 0);
    // The view is a source like a table.
    let lag = server.query("SELECT DISTINCT source FROM touchline.lag WHERE query = 'minutes'")?;
    assert_eq!(lag, [json!({ "source": "tens" })]);
    let (status, took, log) = server.terminate()?;
    assert!(status.success(), "{status}\n{log}");
    assert!(took < Duration::from_secs(10), "it took {took:?} to stop");
    Ok(())
}

fn failed_and_mended() -> Outcome {
    let site = Site::new()?;
    let strict = SCHEMA.replace("'json'", "'json', 'on-bad-row' = 'fail'");
    site.write("schemas/e.sql", &strict)?;
    site.write("queries/a.sql", "CREATE MATERIALIZED VIEW a AS SELECT id, ts FROM e;\n")?;
    site.write("queries/b.sql", "CREATE MATERIALIZED VIEW b AS SELECT id * 10 AS id FROM a;\n")?;
    append(&*site.embedded_log()?, "e", 0, &[record(1, 0), "not JSON".to_owned(), record(2, 10)])?;
    let server = serve(&site)?;
    server.wait_for("b to say what it waits for", |server| {
        let rows = server.query("SELECT state, reason FROM touchline.queries WHERE name = 'b'")?;
        let [row] = rows.as_slice() else { return Ok(None) };
        let waits =
            row["reason"].as_str().is_some_and(|reason| reason.starts_with("waits for view \"a\", which has failed: "));
        if row["state"] == "DEGRADED" && waits { Ok(Some(())) } else { Err(row.to_string().into()) }
    })?;
    site.write("schemas/e.sql", SCHEMA)?;
    server.wait_for("the rows around the bad one", |server| {
        let rows = server.query("SELECT id FROM b ORDER BY id")?;
        Ok((rows == [json!({ "id": 10 }), json!({ "id": 20 })]).then_some(()))
    })?;
    server.wait_for("b to run as if nothing had been", |server| {
        let rows = server.query("SELECT state FROM touchline.queries WHERE name = 'b'")?;
        Ok((rows == [json!({ "state": "RUNNING" })]).then_some(()))
    })
}

fn serve(site: &Site) -> Result<Server, Failed> {
    site.serve(&[("TOUCHLINE_ENGINE_SEAL_AGE", "1s"), ("TOUCHLINE_ENGINE_CHECKPOINT_INTERVAL", "50ms")])
}

/// Appends the next rows while no server has the log open; partitions take turns.
fn append_rows(site: &Site, written: &mut u64, rows: u64) -> Outcome {
    let log = site.embedded_log()?;
    let ids: Vec<u64> = (*written..*written + rows).collect();
    *written += rows;
    for chunk in ids.chunks(8_000) {
        for partition in 0..PARTITIONS {
            let of_partition = chunk.iter().filter(|id| **id % PARTITIONS == partition);
            let records: Vec<String> = of_partition.map(|id| record(*id, id * MS_PER_ROW)).collect();
            append(&log, "e", partition as i32, &records)?;
        }
    }
    Ok(())
}

/// `ms`: behind 2026-01-01, noon, a multiple of the windows.
fn record(id: u64, ms: u64) -> String {
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    let (hour, minute, second) = (12 + seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{{\"id\":{id},\"ts\":\"2026-01-01T{hour:02}:{minute:02}:{second:02}.{ms:03}Z\"}}")
}

/// The column `n` of the only row.
fn number(server: &Server, sql: &str) -> Result<u64, Failed> {
    let rows = server.query(sql)?;
    rows.first().and_then(|row| row["n"].as_u64()).ok_or_else(|| format!("{sql} answers {rows:?}").into())
}
