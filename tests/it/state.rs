//! `touchline state` beside a real server, and what a server does that finds its newest checkpoint damaged.

use std::fs;
use std::path::PathBuf;

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::process::{STREAM, Server, Site, append};
use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![trial("state::what_is_damaged_is_named_and_computed_again", &[], damaged)]
}

const KEPT: &str = "CREATE MATERIALIZED VIEW kept AS SELECT id, ts FROM e;\n";
const SUMS: &str = "\
CREATE MATERIALIZED VIEW sums AS SELECT window_start, count(*) AS n, sum(id) AS s FROM TUMBLE(e, ts, INTERVAL '1 minute')
GROUP BY window_start, window_end;
";

/// Row `id` is of second `id` of the day.
fn record(id: i64) -> String {
    format!(r#"{{"id":{id},"ts":"2026-01-01T00:{:02}:{:02}Z"}}"#, id / 60, id % 60)
}

const PARTITIONS: i64 = 4;

/// Partitions take turns.
fn append_ids(site: &Site, ids: impl Iterator<Item = i64>) -> Outcome {
    let (log, ids) = (site.embedded_log()?, ids.collect::<Vec<_>>());
    for partition in 0..PARTITIONS {
        let of_partition = ids.iter().filter(|id| **id % PARTITIONS == partition).map(|id| record(*id));
        append(&log, "e", partition as i32, &of_partition.collect::<Vec<_>>())?;
    }
    Ok(())
}

fn wait_for_rows(server: &Server, rows: i64) -> Outcome {
    server.wait_for("all rows", |server| {
        let found = server.query("SELECT count(*) AS n FROM kept")?;
        Ok((found == [json!({ "n": rows })]).then_some(()))
    })
}

/// Flips bytes in all parts of each bundle of a query.
fn flip_bundles(site: &Site, query: &str) -> Result<usize, Failed> {
    let folder = site.path(&format!("touchline-data/state/q/{query}/bundle"));
    let files =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<PathBuf>, _>>()?;
    for file in &files {
        let mut bytes = fs::read(file)?;
        bytes.iter_mut().step_by(64).for_each(|byte| *byte ^= 1);
        fs::write(file, bytes)?;
    }
    Ok(files.len())
}

fn damaged() -> Outcome {
    let site = Site::new()?;
    site.write("schemas/e.sql", STREAM)?;
    site.write("queries/kept.sql", KEPT)?;
    site.write("queries/sums.sql", SUMS)?;
    append_ids(&site, 0..50)?;
    let server = site.serve(&[])?;
    wait_for_rows(&server, 50)?;
    // Only one that is not at work may be changed.
    let refused = site.run(&["state", "drop", "kept", "--yes"])?;
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("--take-over"), "{refused:?}");
    server.terminate()?;

    let listed = site.output(&["state", "list", "--output", "json"])?;
    let listed = listed.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let names: Vec<&Value> = listed.iter().map(|row| &row["query"]).collect();
    assert_eq!(names, ["kept", "sums"]);
    assert!(listed.iter().all(|row| row["state"] == "readable"), "{listed:?}");
    let shown = site.output(&["state", "show", "sums"])?;
    for said in ["next offset 13", "segments", "rows in", "watermark"] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    let sound = site.run(&["state", "verify"])?;
    assert_eq!((sound.code, sound.stderr.contains(" 0 damaged or missing")), (Some(0), true), "{sound:?}");

    assert!(flip_bundles(&site, "sums")? + flip_bundles(&site, "kept")? >= 2);
    let found = site.run(&["state", "verify", "--output", "json"])?;
    assert_eq!(found.code, Some(74), "{found:?}");
    for said in ["q/sums/bundle/", "q/kept/bundle/"] {
        assert!(found.stdout.contains(said), "{found:?}");
    }

    // Rows that come later close the window, so its state is seen; rows that were committed are there once.
    append_ids(&site, (50..60).chain(200..210))?;
    let server = site.serve(&[])?;
    wait_for_rows(&server, 70)?;
    let kept = server.query("SELECT count(DISTINCT id) AS n, sum(id) AS s FROM kept")?;
    assert_eq!(kept, [json!({"n": 70, "s": (0..60).chain(200..210).sum::<i64>()})]);
    server.wait_for("the window", |server| {
        let sums = server.query("SELECT n, s FROM sums")?;
        Ok((sums == [json!({"n": 60, "s": (0..60).sum::<i64>()})]).then_some(()))
    })?;
    let log = server.log();
    assert_eq!(log.matches("checkpoint is computed again").count(), 2, "{log}");
    server.terminate()?;

    // A second view from where the first one stands; without --yes nothing happens.
    site.output(&["state", "fork", "sums", "--as", "twice"])?;
    assert_eq!(site.run(&["state", "show", "twice"])?.code, Some(64));
    site.output(&["state", "fork", "sums", "--as", "twice", "--yes"])?;
    assert!(site.output(&["state", "show", "twice"])?.contains("next offset 18"));
    site.output(&["state", "drop", "twice", "--yes"])?;
    assert_eq!(site.run(&["state", "show", "twice"])?.code, Some(64));
    Ok(())
}
