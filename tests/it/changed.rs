//! A view that has come to mean something else: it runs on as it was, says so, and becomes another version when that is answered.

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::process::{STREAM, Server, Site, append};
use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("changed::a_view_runs_on_as_it_was_until_somebody_answers", &[], runs_on),
        trial("changed::an_answer_to_a_stopped_server_counts_at_its_next_start", &[], answered_while_stopped),
        trial("changed::a_view_above_follows_the_one_that_it_reads", &[], follows),
    ]
}

/// As `touchline serve` does without a setting.
const ASK: (&str, &str) = ("TOUCHLINE_ENGINE_ON_CHANGE", "ask");

const PLAIN: &str = "CREATE MATERIALIZED VIEW a AS SELECT id FROM e;\n";
const TENFOLD: &str = "CREATE MATERIALIZED VIEW a AS SELECT id * 10 AS id FROM e;\n";

fn site(rows: i64) -> Result<Site, Failed> {
    let site = Site::new()?;
    site.write("schemas/e.sql", STREAM)?;
    site.write("queries/a.sql", PLAIN)?;
    let records = (1..=rows).map(|id| format!("{{\"id\":{id},\"ts\":\"2026-01-01T12:00:00Z\"}}"));
    append(&*site.embedded_log()?, "e", 0, &records.collect::<Vec<_>>())?;
    Ok(site)
}

fn wait_for_sum(server: &Server, view: &str, sum: i64) -> Outcome {
    server.wait_for(&format!("the sum of {view} to be {sum}"), |server| {
        let rows = server.query(&format!("SELECT sum(id) AS n FROM {view}"))?;
        if rows == [json!({ "n": sum })] {
            return Ok(Some(()));
        }
        Err(format!("it is {rows:?}").into())
    })
}

fn standing(server: &Server, view: &str) -> Result<(String, String), Failed> {
    let rows = server.query(&format!("SELECT state, reason FROM touchline.queries WHERE name = '{view}'"))?;
    let row = rows.first().ok_or("the query is not listed")?;
    let text = |column: &str| row[column].as_str().unwrap_or_default().to_owned();
    Ok((text("state"), text("reason")))
}

/// Returns why.
fn wait_until(server: &Server, view: &str, blocked: bool) -> Result<String, Failed> {
    server.wait_for(&format!("{view} to be blocked: {blocked}"), |server| {
        let (state, reason) = standing(server, view)?;
        if (state == "BLOCKED") == blocked && (blocked || state == "RUNNING" || state == "IDLE") {
            return Ok(Some(reason));
        }
        Err(format!("it is {state}: {reason}").into())
    })
}

/// What `touchline plan` says of each query.
fn planned(site: &Site) -> Result<Vec<(String, String)>, Failed> {
    let lines = site.output(&["plan", "--output", "json"])?;
    let text = |row: &Value, column: &str| row[column].as_str().unwrap_or_default().to_owned();
    lines
        .lines()
        .map(|line| -> Result<(String, String), Failed> {
            let row: Value = serde_json::from_str(line)?;
            Ok((text(&row, "query"), text(&row, "outcome")))
        })
        .collect()
}

fn is_planned(site: &Site, query: &str, outcome: &str) -> Outcome {
    let found = planned(site)?;
    assert!(found.contains(&(query.to_owned(), outcome.to_owned())), "{query} is not {outcome}: {found:?}");
    Ok(())
}

fn runs_on() -> Outcome {
    let site = site(3)?;
    is_planned(&site, "a", "new")?;
    let server = site.serve(&[ASK])?;
    wait_for_sum(&server, "a", 6)?;
    is_planned(&site, "a", "unchanged")?;

    site.write("queries/a.sql", TENFOLD)?;
    let reason = wait_until(&server, "a", true)?;
    assert!(reason.contains("touchline state answer") && reason.contains("computed anew from"), "{reason}");
    assert!(reason.contains("+ statement \"SELECT id * 10 AS id FROM e\""), "{reason}");
    wait_for_sum(&server, "a", 6)?;
    is_planned(&site, "a", "changed (ask)")?;

    // The old text comes back, and nothing is asked any more.
    site.write("queries/a.sql", PLAIN)?;
    wait_until(&server, "a", false)?;
    site.write("queries/a.sql", TENFOLD)?;
    wait_until(&server, "a", true)?;

    site.output(&["state", "answer", "a", "keep"])?;
    let reason = wait_until(&server, "a", false)?;
    assert!(reason.contains("the version before runs on, as it was answered"), "{reason}");
    wait_for_sum(&server, "a", 6)?;
    is_planned(&site, "a", "kept")?;

    site.output(&["state", "answer", "a", "new-version"])?;
    wait_for_sum(&server, "a", 60)?;
    assert_eq!(wait_until(&server, "a", false)?, "");
    is_planned(&site, "a", "unchanged")?;

    // Back to the version before, which goes on where it was: the option answers before anything is asked.
    let at_once = PLAIN.replace("VIEW a AS", "VIEW a WITH ('on-change' = 'new-version') AS");
    site.write("queries/a.sql", &at_once)?;
    wait_for_sum(&server, "a", 6)?;
    let (status, _, log) = server.terminate()?;
    assert!(status.success(), "{log}");
    std::fs::remove_file(site.path("queries/a.sql"))?;
    site.write("queries/b.sql", &PLAIN.replace("VIEW a", "VIEW b"))?;
    is_planned(&site, "a", "removed")
}

fn answered_while_stopped() -> Outcome {
    let site = site(3)?;
    let server = site.serve(&[ASK])?;
    wait_for_sum(&server, "a", 6)?;
    let (status, _, log) = server.terminate()?;
    assert!(status.success(), "{log}");

    // It is changed while nobody looks.
    site.write("queries/a.sql", TENFOLD)?;
    let ran = site.run(&["state", "answer", "a", "new-version"])?;
    assert_eq!(ran.code, Some(64), "nothing is asked yet: {}", ran.stderr);
    let server = site.serve(&[ASK])?;
    wait_until(&server, "a", true)?;
    wait_for_sum(&server, "a", 6)?;
    let (status, _, log) = server.terminate()?;
    assert!(status.success(), "{log}");

    // The question outlives the server.
    site.output(&["state", "answer", "a", "new-version"])?;
    let server = site.serve(&[ASK])?;
    wait_for_sum(&server, "a", 60)?;
    wait_until(&server, "a", false)?;
    Ok(())
}

fn follows() -> Outcome {
    let site = site(3)?;
    site.write("queries/above.sql", "CREATE MATERIALIZED VIEW above AS SELECT id + 1 AS id FROM a;\n")?;
    let server = site.serve(&[ASK])?;
    wait_for_sum(&server, "above", 9)?;
    site.write("queries/a.sql", TENFOLD)?;
    wait_until(&server, "a", true)?;
    let (state, reason) = standing(&server, "above")?;
    assert_ne!(state, "BLOCKED", "it reads what runs: {reason}");
    wait_for_sum(&server, "above", 9)?;
    site.output(&["state", "answer", "a", "new-version"])?;
    wait_for_sum(&server, "a", 60)?;
    wait_for_sum(&server, "above", 63)
}
