//! What an older server has left is gone on from: its state and public files are kept beside this test, as that server wrote them.
//!
//! `golden/format-1.tar.gz` is the data directory of the last server that wrote manifests of format 1, without its log, after the
//! first 80 records of [`record`], each in a checkpoint of its own, with Postgres away: two windows in one query, a HOP, a tail,
//! rows and runs of rows that wait for the hot table, a late row.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

use crate::process::{Server, Site, append};
use crate::services::{self, Need, Outcome, async_trial, unique};

pub(crate) fn tests() -> Vec<Trial> {
    vec![async_trial("golden::a_checkpoint_of_format_1_is_gone_on_from", &[Need::Postgres], format_1)]
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/it/golden");

const ROWS: i64 = 140;
/// It comes with the time of second 3, when that window has closed.
const LATE: i64 = 70;
/// Later than all windows that are looked at.
const CLOSING: [i64; 4] = [1_000, 1_001, 1_002, 1_003];

/// Partition, and text: a row a second.
fn record(id: i64) -> (i32, String) {
    let second = match id {
        LATE => 3,
        closing if CLOSING.contains(&closing) => 3_000,
        id => id,
    };
    ((id % 4) as i32, format!(r#"{{"id":{id},"ts":"2026-01-01T00:{:02}:{:02}Z"}}"#, second / 60, second % 60))
}

async fn format_1() -> Outcome {
    let site = Site::new()?;
    for file in ["schemas/e.sql", "queries/kept.sql", "queries/tumbled.sql", "queries/nested.sql", "queries/hopped.sql"]
    {
        site.write(file, &std::fs::read_to_string(Path::new(FOLDER).join("format-1").join(file))?)?;
    }
    let archive = Path::new(FOLDER).join("format-1.tar.gz");
    let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(site.path("")).status()?;
    assert!(unpacked.success(), "tar: {unpacked}");
    {
        let log = site.embedded_log()?;
        for id in (0..ROWS).chain(CLOSING) {
            let (partition, text) = record(id);
            append(&log, "e", partition, &[text])?;
        }
    }
    let (db, connection) = tokio_postgres::connect(&services::postgres()?, NoTls).await?;
    tokio::spawn(connection);
    let schema = unique("golden");
    db.batch_execute(&format!("CREATE SCHEMA \"{schema}\"; SET search_path = \"{schema}\"")).await?;
    let url = services::postgres()?;
    let server = tokio::task::block_in_place(|| {
        site.serve(&[("TOUCHLINE_POSTGRES_URL", &url), ("TOUCHLINE_POSTGRES_SCHEMA", &schema)])
    })?;
    tokio::task::block_in_place(|| compared(&server))?;
    // Each row once, of those that waited and of those that have come since.
    let all = ROWS + CLOSING.len() as i64;
    for _ in 0..600 {
        let asked = db.query_one("SELECT count(*), count(DISTINCT id) FROM kept", &[]).await;
        let found = asked.map(|row| (row.get::<_, i64>(0), row.get::<_, i64>(1)));
        if matches!(found, Ok((rows, _)) if rows >= all) {
            assert_eq!(found?, (all, all));
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(db.query_one("SELECT count(*) FROM kept", &[]).await?.get::<_, i64>(0), all);
    db.batch_execute(&format!("DROP SCHEMA \"{schema}\" CASCADE")).await?;
    Ok(())
}

fn compared(server: &Server) -> Outcome {
    let ended = |view: &str, windows: usize| {
        server.wait_for(view, |server| {
            let rows = server.query(&format!("SELECT DISTINCT window_start FROM {view}"))?;
            Ok((rows.len() >= windows).then_some(()))
        })
    };
    let counted: Vec<i64> = (0..ROWS).filter(|id| *id != LATE).collect();

    let mut tumbled: BTreeMap<(i64, i64), (i64, i64)> = BTreeMap::new();
    for id in &counted {
        let of = tumbled.entry((id / 10 * 10, id % 3)).or_default();
        *of = (of.0 + 1, of.1 + id);
    }
    ended("tumbled", 14)?;
    let expected = tumbled.iter().map(|((start, k), (n, s))| json!([at(*start), k, n, s])).collect();
    same(
        server,
        "SELECT window_start, k, n, s FROM tumbled ORDER BY 1, 2",
        &["window_start", "k", "n", "s"],
        expected,
    )?;

    ended("nested", 7)?;
    let expected = (0..7).map(|window| {
        let of = tumbled.range((20 * window, i64::MIN)..(20 * window + 20, i64::MIN)).map(|(_, of)| *of);
        let (n, most) = of.fold((0, 0), |(n, most), of| (n + of.0, most.max(of.1)));
        json!([at(20 * window), n, most])
    });
    same(
        server,
        "SELECT window_start, n, most FROM nested ORDER BY 1",
        &["window_start", "n", "most"],
        expected.collect(),
    )?;

    let mut hopped: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for id in &counted {
        (0..3).for_each(|back| hopped.entry(id / 10 * 10 - 10 * back).or_default().push(*id));
    }
    ended("hopped", hopped.len())?;
    let expected = hopped.iter().map(|(start, ids)| {
        let mean = ids.iter().sum::<i64>() as f64 / ids.len() as f64;
        let kinds: BTreeSet<i64> = ids.iter().map(|id| id % 3).collect();
        json!([at(*start), ids.len(), kinds.len(), mean])
    });
    same(
        server,
        "SELECT window_start, n, d, a FROM hopped ORDER BY 1",
        &["window_start", "n", "d", "a"],
        expected.collect(),
    )?;

    // One entry for each window missed, by the older server, which did not say where the row was read.
    let late = server.query(
        "SELECT query, count(*) AS n, count(missed_from) AS missed, count(topic) AS origins, min(row) AS row
        FROM touchline.late GROUP BY query ORDER BY query",
    )?;
    let queries: Vec<&str> = late.iter().filter_map(|row| row["query"].as_str()).collect();
    assert_eq!(queries, ["hopped", "nested", "tumbled"], "{late:?}");
    for row in &late {
        assert_eq!((&row["missed"], &row["origins"]), (&row["n"], &json!(0)), "{row}");
        assert!(row["row"].as_str().is_some_and(|text| text.contains("\"id\":70")), "{row}");
    }
    Ok(())
}

/// Second `start` of the day, as `touchline sql --output json` prints it.
fn at(start: i64) -> String {
    let of_day = start.rem_euclid(86_400);
    let day = if start < 0 { "2025-12-31" } else { "2026-01-01" };
    format!("{day}T{:02}:{:02}:{:02}", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

/// The windows of the closing records are still open.
fn same(server: &Server, sql: &str, columns: &[&str], expected: Vec<Value>) -> Outcome {
    let rows = server.query(sql)?;
    let found: Vec<Value> =
        rows.iter().map(|row| columns.iter().map(|column| row[*column].clone()).collect()).collect();
    if found == expected {
        return Ok(());
    }
    Err(Failed::from(format!("{sql}\nfound {found:?}\nexpected {expected:?}")))
}
